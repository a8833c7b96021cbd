// How does a grade reach the server's disk, however often it has to be tried?
"use strict";

// An answer of the server that trying again cannot mend.
Finetrial.Refusal = class extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
};

Finetrial.makeTransport = function (onTrouble) {
  const FIRST_WAIT_MS = 100;
  const LONGEST_WAIT_MS = 1000;
  const ANSWER_WITHIN_MS = 15000;
  const PENDING = `finetrial-pending:${location.pathname}:`;
  const RUNNING = "Is `finetrial grade` still running?";
  const blocks = new Map();

  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  async function ask(path, body) {
    const options = { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) };
    if (body !== undefined) {
      options.method = "POST";
      options.headers = { "content-type": "application/json" };
      options.body = JSON.stringify(body);
    }
    const response = await fetch(path, options);
    if (response.ok) return response.json();
    let what = null;
    let fix = null;
    try {
      ({ what, fix } = (await response.json()).error);
    } catch {
      what = response.status === 404 ? "this address is not valid any more" : `the server answered ${response.status}`;
      fix = response.status === 404 ? "Open the address that `finetrial grade` printed last." : null;
    }
    const message = fix ? `${what}. ${fix}` : what;
    if (response.status >= 500) throw new Error(message);
    throw new Finetrial.Refusal(message, response.status);
  }

  // Try until it works; tell the person after the first failure, and when it is over.
  async function insist(path, body, kept) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await ask(path, body);
        if (attempt > 0) onTrouble(null);
        return answer;
      } catch (error) {
        if (error instanceof Finetrial.Refusal) {
          onTrouble(null);
          throw error;
        }
        const unreachable = error instanceof TypeError || error.name === "TimeoutError";
        const what = unreachable ? "The server does not answer." : `Not written: ${error.message}.`;
        onTrouble(`${what} ${kept} Trying again…`);
        await wait(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 1.5 ** attempt));
      }
    }
  }

  function keep(event) {
    try {
      localStorage.setItem(PENDING + event.uid, JSON.stringify(event));
    } catch {
      // Private windows may refuse; the event still waits in this tab.
    }
  }

  function forget(event) {
    try {
      localStorage.removeItem(PENDING + event.uid);
    } catch {
      // as above
    }
  }

  async function send(event) {
    keep(event);
    try {
      const answer = await insist("api/events", event, "Your grade is kept on this page.");
      forget(event);
      return answer;
    } catch (refusal) {
      // Refused for this browser (409): kept until it is let in again.
      if (refusal.status !== 409) forget(event);
      throw refusal;
    }
  }

  // What an earlier page could not deliver, for instance because the laptop died. True when there was something.
  async function sendPending(mode) {
    const waiting = [];
    let sent = false;
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key.startsWith(PENDING)) waiting.push(key);
    }
    for (const key of waiting) {
      const event = JSON.parse(localStorage.getItem(key));
      if (event && event.mode === mode) {
        try {
          await send(event);
          sent = true;
        } catch (refusal) {
          if (!(refusal instanceof Finetrial.Refusal)) throw refusal;
        }
      }
    }
    return sent;
  }

  // One fetch for each thing, however often it is asked for.
  function once(path, number) {
    const name = `${path}?n=${number}`;
    if (!blocks.has(name)) {
      const content = insist(name, undefined, "Everything graded so far is safe.");
      blocks.set(name, content);
      content.catch(() => blocks.delete(name));
    }
    return blocks.get(name);
  }

  return {
    bundled: false,
    start: () => insist("api/start", undefined, RUNNING),
    // By the shared address: a new rater, who goes on under a link of their own.
    enter: (name, kind) => insist("api/join", { rater: name, rater_kind: kind }, RUNNING),
    // By the own link; without a kind what was declared before counts.
    async begin(mode, kind) {
      const declared = kind === null ? {} : { rater_kind: kind };
      let joined = await insist("api/begin", declared, RUNNING);
      if (await sendPending(mode)) joined = await insist("api/begin", declared, RUNNING);
      blocks.clear();
      return joined;
    },
    block: (number) => once("api/block", number),
    formatted: (number) => once("api/formatted", number),
    send,
    changes: (seq) => ask(`api/changes?after=${seq}`),
  };
};

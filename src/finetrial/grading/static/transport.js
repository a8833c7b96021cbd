// How does a grade reach the server's disk, however often it has to be tried?
"use strict";

// An answer of the server that trying again cannot mend.
Finetrial.Refusal = class extends Error {};

Finetrial.makeTransport = function (onTrouble) {
  const FIRST_WAIT_MS = 100;
  const LONGEST_WAIT_MS = 1000;
  const ANSWER_WITHIN_MS = 15000;
  const PENDING = `finetrial-pending:${location.pathname}:`;
  let rater = null;
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
    throw new Finetrial.Refusal(message);
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
      forget(event);
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
      if (event && event.rater === rater && event.mode === mode) {
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

  return {
    bundled: false,
    start: () => insist("api/start", undefined, "Is `finetrial grade` still running?"),
    async join(name, mode) {
      let joined = await insist("api/join", { rater: name }, "Is `finetrial grade` still running?");
      rater = joined.rater;
      if (await sendPending(mode)) joined = await insist("api/join", { rater: name }, "Is `finetrial grade` still running?");
      blocks.clear();
      return joined;
    },
    block(number) {
      if (!blocks.has(number)) {
        const query = `api/block?rater=${encodeURIComponent(rater)}&n=${number}`;
        const content = insist(query, undefined, "Everything graded so far is safe.");
        blocks.set(number, content);
        content.catch(() => blocks.delete(number));
      }
      return blocks.get(number);
    },
    send,
    changes: (seq) => ask(`api/changes?rater=${encodeURIComponent(rater)}&after=${seq}`),
  };
};

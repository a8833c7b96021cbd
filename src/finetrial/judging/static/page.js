// What happens when the rater presses a key?
"use strict";

(async function () {
  const by = (id) => document.getElementById(id);
  const { element } = Finetrial;
  const TOO_SOON_MS = 250; // a press this soon after a new sample was meant for the one before
  const SAVING_SHOWN_MS = 300;
  const LOOK_AGAIN_MS = 2000; // another process works out within a second whether it is enough

  const transport = Finetrial.makeTransport((message) => {
    by("trouble").textContent = message || "";
  });
  const about = await transport.start();
  const mode = about.mode;
  const cards = Finetrial.makeCards(mode, about.reasons, about.scale);
  let session = null;
  let content = null; // of the cell on the screen; null while it is being fetched
  let chosen = new Set(); // reasons of the cell on the screen
  let busy = false;
  let screen = "start";
  let formatted = Finetrial.remembered("finetrial-formatted") === "on";
  let shownAt = 0; // performance.now() does not jump when the clock does
  let hiddenMs = 0;
  let hiddenSince = null;
  let lookAgain = null;
  const held = new Set();

  for (const box of document.querySelectorAll(".text")) {
    box.addEventListener("scroll", () => Finetrial.markOverflow(box), { passive: true });
    new ResizeObserver(() => Finetrial.markOverflow(box)).observe(box);
  }

  const announce = (text) => {
    by("announce").textContent = text;
  };

  function go(name) {
    screen = name;
    for (const id of ["start", "elsewhere", "grading", "done"]) by(id).hidden = id !== name;
    by("overview-open").hidden = name !== "grading";
    document.body.dataset.screen = name;
  }

  // Showing

  function showReasons() {
    for (const button of by("reason-buttons").children) {
      button.setAttribute("aria-pressed", String(chosen.has(button.dataset.code)));
    }
  }

  function showAnswers() {
    const now = cards.seen(session.current.value, content);
    for (const button of by("answers").children) {
      button.setAttribute("aria-pressed", String(button.dataset.value === now));
    }
    by("note-open").disabled = false;
  }

  async function move(place, { said = "", focus = true } = {}) {
    session.position = place;
    content = null;
    const number = session.current.block;
    const wanted = formatted;
    const [contents, marks] = await Promise.all([transport.block(number), wanted ? transport.formatted(number) : null]);
    if (session.position !== place || formatted !== wanted) return; // moved on while it was fetched
    if (number + 1 < session.blocks.length) {
      transport.block(number + 1).catch(() => {});
      if (wanted) transport.formatted(number + 1).catch(() => {});
    }
    if (screen !== "grading") go("grading");
    content = cards.show(session, contents, marks, (to) => move(to));
    chosen = new Set(session.current.reasons);
    showReasons();
    showAnswers();
    if (focus) by("sample").focus({ preventScroll: true });
    window.scrollTo(0, 0);
    shownAt = performance.now();
    hiddenMs = 0;
    hiddenSince = document.hidden ? shownAt : null;
    announce(`${said} ${cards.label(session, place)}.`.trim());
  }

  function refresh(said) {
    return move(session.position, { said, focus: false });
  }

  const shownMs = () => {
    const now = performance.now();
    return Math.round(now - shownAt - hiddenMs - (hiddenSince === null ? 0 : now - hiddenSince));
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hiddenSince = performance.now();
    } else {
      if (hiddenSince !== null) hiddenMs += performance.now() - hiddenSince;
      hiddenSince = null;
      catchUp();
    }
  });
  window.addEventListener("focus", () => catchUp());

  // Where grading may stop at any time: whether it is enough, never who leads.
  function showStand(stand) {
    if (!stand) return;
    for (const place of [by("stand"), by("done-stand")]) {
      if (stand.enough && place.textContent !== stand.text && place.id === "stand") announce(stand.text);
      place.textContent = stand.text;
      place.classList.toggle("enough", stand.enough);
      place.hidden = false;
    }
  }

  // Another tab of the same rater may have gone on.
  async function catchUp() {
    if (session === null || busy) return;
    try {
      const news = await transport.changes(session.seq);
      showStand(news.stand);
      if (busy || news.seq === session.seq) return;
      const before = JSON.stringify(session.current);
      session.apply(news.cells);
      session.seq = news.seq;
      if (screen === "grading" && JSON.stringify(session.current) !== before) await refresh("Changed in another tab.");
      else if (screen === "grading") cards.progress(session);
    } catch {
      // The next grade will say what is wrong.
    }
  }

  // Doing: nothing moves before the event is on the disk.

  async function send(event) {
    busy = true;
    const slow = setTimeout(() => document.body.classList.add("saving"), SAVING_SHOWN_MS);
    try {
      const full = {
        uid: Finetrial.newId(),
        mode,
        after: session.seq,
        client_at: new Date().toISOString(),
        ...event,
      };
      const answer = await transport.send(full);
      session.apply(answer.cells);
      session.seq = answer.seq;
      showStand(answer.stand);
      if (answer.stand) {
        clearTimeout(lookAgain);
        lookAgain = setTimeout(catchUp, LOOK_AGAIN_MS);
      }
      return answer;
    } catch (refusal) {
      if (!(refusal instanceof Finetrial.Refusal)) throw refusal;
      by("trouble").textContent = `Not counted: ${refusal.message}`;
      return null;
    } finally {
      clearTimeout(slow);
      document.body.classList.remove("saving");
      busy = false;
    }
  }

  const onCell = (cell) => ({ item_id: cell.item_id, occurrence: cell.occurrence, position: session.place(cell) });

  function recorded(value) {
    if (mode === "single" || value === "tie") return value;
    const other = content.left_is === "first" ? "second" : "first";
    return value === "left" ? content.left_is : other;
  }

  async function grade(value) {
    if (busy || screen !== "grading" || content === null) return;
    if (performance.now() - shownAt < TOO_SOON_MS) return;
    const cell = session.current;
    const took = shownMs();
    const event = { kind: "grade", ...onCell(cell), value: recorded(value), reasons: [...chosen], shown_ms: took };
    if (mode === "pairs") event.left = content.left_is;
    if (!(await send(event))) return;
    session.took(took);
    by("pace").hidden = !session.isTooFast(about.fast_seconds);
    const said = `${cards.answerOf(value).label}.`;
    const next = session.nextOpen(session.position + 1);
    if (next === null) await finish(said);
    else await move(next, { said });
  }

  async function toggleReason(code) {
    if (busy || screen !== "grading" || content === null || mode === "pairs") return;
    if (!chosen.delete(code)) chosen.add(code);
    showReasons();
    const label = about.reasons.find((reason) => reason.code === code).label;
    const cell = session.current;
    if (cell.value !== null) {
      // A grade that stands gets the reason at once.
      const sent = { kind: "grade", ...onCell(cell), value: cell.value, reasons: [...chosen] };
      if (await send(sent)) await refresh(`${label} ${chosen.has(code) ? "added" : "removed"}.`);
    } else {
      announce(`${label} ${chosen.has(code) ? "chosen" : "not chosen"}.`);
    }
  }

  async function undo() {
    if (busy || session === null || screen === "start") return;
    const answer = await send({ kind: "undo" });
    if (answer === null) return;
    if (answer.undone === null) {
      announce("There is nothing to undo.");
      return;
    }
    const place = session.place(answer.undone);
    if (place === undefined) return;
    const state = session.cells[place].value === null ? "open again" : "back to the grade before";
    await move(place, { said: `Undone: ${state}.` });
  }

  function step(by_) {
    if (busy || screen !== "grading") return;
    const place = session.position + by_;
    if (place < 0) return;
    if (place >= session.cells.length) finish("");
    else move(place);
  }

  async function toggleFormatted() {
    formatted = !formatted;
    Finetrial.remember("finetrial-formatted", formatted ? "on" : "off");
    by("formatted").setAttribute("aria-pressed", String(formatted));
    if (screen === "grading" && session !== null) await refresh(formatted ? "Formatted." : "As it was written.");
  }

  // The note

  function openNote() {
    if (busy || screen !== "grading" || content === null) return;
    by("note-text").value = session.current.note || "";
    by("note").showModal();
    by("note-text").focus();
  }

  async function keepNote() {
    const cell = session.current;
    const note = by("note-text").value.trim();
    if (note === (cell.note || "")) return;
    if (await send({ kind: "note", ...onCell(cell), note })) await refresh(note ? "Note kept." : "Note removed.");
  }

  by("note-form").addEventListener("submit", () => keepNote());
  by("note-cancel").addEventListener("click", () => by("note").close());
  by("note-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) by("note-form").requestSubmit();
  });

  // The summary

  async function finish(said) {
    go("done");
    const complete = session.open === 0;
    by("done-title").textContent = complete ? "All graded. Thank you." : `${session.open} still open`;
    const pace = session.medianMs === null ? "" : `, ${(session.medianMs / 1000).toFixed(1)} s each in this sitting (median)`;
    by("done-lead").textContent = `${session.rater}: ${session.done} of ${session.cells.length} graded${pace}.`;
    by("done-pace").hidden = !session.isTooFast(about.fast_seconds);
    cards.counts(session);
    const back = element("button", {
      type: "button",
      className: complete ? "plain" : "primary",
      textContent: complete ? "Look again from the beginning" : "Go on with what is open",
    });
    back.addEventListener("click", () => move(session.nextOpen(0) ?? 0));
    const undoLast = element("button", { type: "button", className: "plain", textContent: "Undo the last grade" });
    undoLast.addEventListener("click", () => undo());
    by("done-buttons").replaceChildren(back, undoLast);
    Finetrial.showNextSteps(by("next-steps"), about, transport, announce);
    by("guesses").hidden = !(complete && mode === "single" && about.arms.length > 1);
    by("done-title").focus();
    window.scrollTo(0, 0);
    announce(`${said} ${by("done-title").textContent}`.trim());
    await cards.map(session, transport, (to) => move(to));
    if (by("guesses").hidden) return;
    await Finetrial.showGuesses(by("guess-list"), session, about, transport, (cell, arm) =>
      send({ kind: "guess", ...onCell(cell), value: arm }),
    );
  }

  // Keys and buttons

  const KEYS = [
    ...(about.scale ? cards.answers : [...cards.answers].reverse()).map((answer) => [answer.key, answer.label]),
    ...(mode === "single" ? [[`${about.scale ? "Shift " : ""}1 – 6`, about.reasons.map((reason) => reason.label).join(", ")]] : []),
    ["U or Ctrl-Z", "Undo, as far back as you like"],
    ["← →", "Move without grading"],
    ["N", "Note"],
    ["M", "Show Markdown and code formatted, or as written"],
    ["?", "This list"],
  ];
  for (const [key, meaning] of KEYS) {
    by("keys").append(element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: meaning }));
  }

  for (const answer of cards.answers) {
    const button = element(
      "button",
      { type: "button", className: `answer ${answer.tone}` },
      ...(answer.tone === "graded" ? [] : [element("span", { className: "sign", textContent: answer.sign, ariaHidden: "true" })]),
      element("span", { className: "answer-label", textContent: answer.label, dir: "auto" }),
      ...(answer.key === answer.label ? [] : [element("kbd", { textContent: answer.key, ariaHidden: "true" })]),
    );
    button.dataset.value = answer.value;
    button.addEventListener("click", () => grade(answer.value));
    by("answers").append(button);
  }
  for (const [number, reason] of about.reasons.entries()) {
    const key = element("kbd", { className: "tick", textContent: String(number + 1), ariaHidden: "true" });
    const button = element("button", { type: "button", className: "chip" }, key, ` ${reason.label}`);
    button.dataset.code = reason.code;
    button.addEventListener("click", () => toggleReason(reason.code));
    by("reason-buttons").append(button);
  }
  by("answers").classList.toggle("many", cards.answers.length > 3);
  by("reason-keys").hidden = !about.scale;
  by("formatted").setAttribute("aria-pressed", String(formatted));
  by("reasons").hidden = mode === "pairs";
  by("sample-text").hidden = mode === "pairs";
  by("two").hidden = mode !== "pairs";
  by("desk").classList.toggle("pairs", mode === "pairs");
  by("previous").addEventListener("click", () => step(-1));
  by("next").addEventListener("click", () => step(1));
  by("undo").addEventListener("click", () => undo());
  by("note-open").addEventListener("click", () => openNote());
  by("formatted").addEventListener("click", () => toggleFormatted());
  by("help-open").addEventListener("click", () => by("help").showModal());
  by("overview-open").addEventListener("click", () => busy || finish(""));

  const shortcuts = by("shortcuts");
  shortcuts.checked = Finetrial.remembered("finetrial-shortcuts") !== "off";
  const showShortcuts = () => document.body.classList.toggle("no-shortcuts", !shortcuts.checked);
  showShortcuts();
  shortcuts.addEventListener("change", () => {
    showShortcuts();
    Finetrial.remember("finetrial-shortcuts", shortcuts.checked ? "on" : "off");
  });

  document.addEventListener("keyup", (event) => held.delete(event.code));
  window.addEventListener("blur", () => held.clear());
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (!shortcuts.checked || document.querySelector("dialog[open]") || screen === "start") return;
    if (target.closest("input, textarea, select")) return;
    const undoing = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if ((event.ctrlKey || event.metaKey || event.altKey) && !undoing) return;
    // Space and Enter belong to a button that has the focus.
    if (event.key === " " && target.closest("button, summary")) return;
    const again = event.repeat || held.has(event.code);
    held.add(event.code);
    const action = actionOf(event, undoing);
    if (action === null) return;
    event.preventDefault();
    if (!again) action();
  });

  function actionOf(event, undoing) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (undoing || key === "u") return undo;
    if (key === "?") return () => by("help").showModal();
    if (screen !== "grading") return null;
    // Where digits grade, reasons are Shift and a digit. The key's place counts: layouts disagree on what Shift makes.
    const digit = /^(Digit|Numpad)[1-9]$/.test(event.code) ? Number(event.code.at(-1)) : Number(key);
    if (about.scale) {
      if (key === " ") return () => grade("unsure");
      const label = about.scale.labels[digit - 1];
      if (label !== undefined && !event.shiftKey) return () => grade(label);
    } else {
      const answer = { j: 2, f: 0, " ": 1 }[key];
      if (answer !== undefined) return () => grade(cards.answers[answer].value);
    }
    if (key === "ArrowLeft") return () => step(-1);
    if (key === "ArrowRight") return () => step(1);
    if (key === "n") return openNote;
    if (key === "m") return toggleFormatted;
    const reason = about.reasons[digit - 1];
    if (reason !== undefined) return () => toggleReason(reason.code);
    return null;
  }

  // The first screen

  // Grade as somebody; without a kind what was declared before counts.
  async function begin(kind, name) {
    by("start-error").textContent = "";
    try {
      const joined = await transport.begin(mode, kind, name);
      session = new Finetrial.Session(joined);
      showStand(joined.stand);
      by("who").textContent = session.kind === "stand-in" ? `${session.rater} · stand-in` : session.rater;
      if (joined.locked) by("trouble").textContent = "The grades are locked: the key has been opened. You can read, not grade.";
      const first = session.nextOpen(0);
      if (first === null) await finish("");
      else await move(first);
    } catch (refusal) {
      if (!(refusal instanceof Finetrial.Refusal)) throw refusal;
      go("start");
      by("start-error").textContent = refusal.message;
    }
  }

  async function enter(name, kind) {
    by("start-error").textContent = "";
    try {
      const entered = await transport.enter(name, kind);
      if (entered.link === null) await begin(kind, entered.rater);
      else location.replace(entered.link);
    } catch (refusal) {
      if (!(refusal instanceof Finetrial.Refusal)) throw refusal;
      by("start-error").textContent = refusal.message;
    }
  }

  Finetrial.showStart(about, {
    bundled: transport.bundled,
    onBegin: (name, kind) => (about.rater === null ? enter(name, kind) : begin(kind, name)),
    onGoOn: (rater) => (rater.link ? location.assign(rater.link) : begin(null, rater.name)),
  });
  if (about.locked) by("trouble").textContent = "The grades are locked: the key has been opened.";
  if (about.elsewhere) {
    Finetrial.showElsewhere(about);
    go("elsewhere");
  } else if (about.rater !== null && about.theirs && about.kind !== null) {
    await begin(null, about.rater);
  } else {
    go("start");
    const asked = new URLSearchParams(location.search).get("rater");
    if (asked !== null && about.rater === null) by("name").value = asked;
    (about.rater === null ? by("name") : by("begin-person")).focus();
  }
})();

// How does one cell look: its texts, its state, its neighbours?
"use strict";

Finetrial.ANSWERS = {
  single: [
    { value: "bad", key: "F", label: "Bad", sign: "✕", tone: "bad" },
    { value: "unsure", key: "Space", label: "Can’t tell", sign: "?", tone: "unsure" },
    { value: "good", key: "J", label: "Good", sign: "✓", tone: "good" },
  ],
  pairs: [
    { value: "left", key: "F", label: "A is better", sign: "◀", tone: "left" },
    { value: "tie", key: "Space", label: "Tie", sign: "=", tone: "unsure" },
    { value: "right", key: "J", label: "B is better", sign: "▶", tone: "right" },
  ],
};

// The answers of a scale, in its order; the keys are their numbers.
Finetrial.answersOf = function (mode, scale) {
  if (!scale) return Finetrial.ANSWERS[mode];
  const unsure = Finetrial.ANSWERS.single[1];
  const own = scale.labels.map((label, number) => ({
    value: label,
    key: String(number + 1),
    label,
    sign: String(number + 1),
    tone: "graded",
  }));
  return [...own, unsure];
};

Finetrial.makeCards = function (mode, reasons, scale) {
  const by = (id) => document.getElementById(id);
  const { element } = Finetrial;
  const answers = Finetrial.answersOf(mode, scale);
  const one = mode === "single" ? "Sample" : "Pair";

  // What the record says (first, second) as what the rater saw (left, right).
  function seen(value, content) {
    if (mode === "single" || value === null || value === "tie") return value;
    return content !== undefined && value === content.left_is ? "left" : "right";
  }

  function answerOf(value) {
    return answers.find((answer) => answer.value === value) || null;
  }

  function stateOf(cell, content) {
    if (cell.value === null) return { sign: "", label: "open", tone: "open" };
    if (mode === "pairs" && content === undefined) return { sign: "•", label: "compared", tone: "left" };
    return answerOf(seen(cell.value, content));
  }

  function label(session, place) {
    const cell = session.cells[place];
    return `${one} ${cell.number} of ${session.sizes.get(session.promptOf(cell))}`;
  }

  function pip(session, place, content, onMove) {
    const cell = session.cells[place];
    const state = stateOf(cell, content);
    const button = element("button", { type: "button", className: `pip ${state.tone}`, textContent: state.sign });
    const name = label(session, place);
    // What stands on the button is part of its name, for those who speak to it.
    const said = state.tone === "graded" && state.sign !== state.label ? `${state.sign} ${state.label}` : state.label;
    button.setAttribute("aria-label", `${name}: ${said}${cell.note ? ", with a note" : ""}`);
    button.title = `${name}: ${state.label}`;
    if (cell.note) button.classList.add("noted");
    if (place === session.position) button.setAttribute("aria-current", "step");
    button.addEventListener("click", () => onMove(place));
    return element("li", {}, button);
  }

  function pips(session, contents, onMove) {
    const block = session.blocks[session.current.block];
    const row = [];
    for (let i = 0; i < block.size; i += 1) {
      row.push(pip(session, block.start + i, contents && contents.cells[i], onMove));
    }
    by("pips").replaceChildren(...row);
  }

  function verdict(cell, content) {
    const place = by("verdict");
    const state = stateOf(cell, content);
    place.className = `verdict ${state.tone}`;
    if (cell.value === null) {
      place.textContent = "";
      return;
    }
    const because = cell.reasons.map((code) => reasons.find((reason) => reason.code === code).label);
    const sign = state.sign === state.label || scale ? "" : `${state.sign} `;
    place.textContent = `${sign}${state.label}${because.length ? `: ${because.join(", ")}` : ""}`;
  }

  let shownPrompt = null;

  // `formatted` has the shape of `contents`, with nodes where texts stand; null: texts are shown as they are.
  function show(session, contents, formatted, onMove) {
    const cell = session.current;
    const block = session.blocks[cell.block];
    const content = contents.cells[session.position - block.start];
    const marks = formatted && formatted.cells[session.position - block.start];
    const prompt = `${cell.block}${formatted ? " formatted" : ""}`;
    if (shownPrompt !== prompt) {
      if (contents.turns) Finetrial.showTurns(by("source-text"), contents.turns, formatted && formatted.turns);
      else Finetrial.show(by("source-text"), contents.prompt, formatted && formatted.prompt);
      by("source-name").textContent = `Prompt ${session.promptOf(cell)} of ${session.prompts}`;
      shownPrompt = prompt;
    }
    by("sample-name").textContent = label(session, session.position);
    if (mode === "single") {
      Finetrial.show(by("sample-text"), content.text, marks && marks.text);
    } else {
      Finetrial.show(by("left-text"), content.left, marks && marks.left);
      Finetrial.show(by("right-text"), content.right, marks && marks.right);
    }
    const note = by("note-shown");
    note.hidden = !cell.note;
    note.replaceChildren(element("strong", { textContent: "Note: " }), cell.note || "");
    verdict(cell, content);
    pips(session, contents, onMove);
    progress(session);
    return content;
  }

  function progress(session) {
    by("progress").max = session.cells.length;
    by("progress").value = session.done;
    by("progress-text").textContent = `${session.done} of ${session.cells.length}`;
    by("open-text").textContent = session.open ? `${session.open} open` : "all graded";
    const left = session.secondsLeft;
    by("time-left").textContent = left === null || session.open === 0 ? "" : `${Finetrial.duration(left)} left`;
  }

  // The summary's map: every prompt with the state of its cells.
  async function map(session, transport, onMove) {
    const rows = [];
    for (let prompt = 1; prompt <= session.prompts; prompt += 1) {
      const list = element("ol", { className: "pips" });
      list.setAttribute("aria-label", `Prompt ${prompt}`);
      rows.push(element("div", { className: "map-row" }, element("span", { className: "quiet", textContent: prompt }), list));
    }
    by("map").replaceChildren(...rows);
    for (const [number, block] of session.blocks.entries()) {
      const contents = mode === "pairs" && session.cells.length <= 500 ? await transport.block(number) : null;
      const list = rows[session.numbers[number] - 1].lastChild;
      for (let i = 0; i < block.size; i += 1) {
        list.append(pip(session, block.start + i, contents && contents.cells[i], onMove));
      }
    }
  }

  function counts(session) {
    const shown = by("counts");
    shown.replaceChildren();
    const rows = mode === "single" ? answers : [{ value: "tie", label: "Ties", sign: "=", tone: "unsure" }];
    const entries = (scale ? rows : [...rows].reverse()).map((answer) => [answer, session.count(answer.value)]);
    if (mode === "pairs") {
      const decided = session.done - session.count("tie");
      entries.unshift([{ label: "One was better", sign: "◀▶", tone: "left" }, decided]);
    }
    if (session.open) entries.push([{ label: "Open", sign: "○", tone: "open" }, session.open]);
    for (const [answer, number] of entries) {
      const own = answer.tone === "graded"; // its sign is a key, or the label again
      const term = element("dt", { textContent: own ? answer.label : `${answer.sign} ${answer.label}` });
      shown.append(element("div", { className: `count ${answer.tone}` }, term, element("dd", { textContent: number })));
    }
  }

  return { answers, answerOf, seen, show, label, map, counts, progress, stateOf };
};

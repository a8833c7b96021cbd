// What does a rater read and do at the end: what comes next, and which arm wrote what?
"use strict";

Finetrial.command = function (text) {
  return Finetrial.element("code", { className: "command", textContent: text });
};

// Save the grades of a bundle's page as the one file that is sent back; returns its name.
Finetrial.saveFile = function (transport) {
  const file = transport.file();
  const url = URL.createObjectURL(new Blob([file.text], { type: "application/json" }));
  Finetrial.element("a", { href: url, download: file.name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  return file.name;
};

Finetrial.showNextSteps = function (place, about, transport, announce) {
  const { command, element } = Finetrial;
  place.replaceChildren(element("h2", { textContent: "What next" }));
  if (transport.bundled) {
    const save = element("button", { type: "button", className: "primary", id: "save", textContent: "Save my grades" });
    save.addEventListener("click", () => announce(`Saved as ${Finetrial.saveFile(transport)}.`));
    place.append(element("p", { textContent: "Save the file and send it to whoever gave you this page." }), save);
    return;
  }
  if (!about.folder) {
    place.append(
      element("p", { textContent: "Nothing: your grades are kept, and whoever invited you sees that you are done. You can close the page." }),
    );
    return;
  }
  const quoted = /^[\w./-]+$/.test(about.folder) ? about.folder : `'${about.folder.replaceAll("'", "'\\''")}'`;
  const lock =
    "Stop the command in the terminal with Ctrl-C. When every rater is done, lock the grades and open the key; " +
    "this cannot be undone:";
  place.append(
    element("p", { textContent: lock }),
    command(`finetrial unblind ${quoted}`),
    element("p", { textContent: "Then the report can say which arm was preferred:" }),
    command(`finetrial report ${quoted}`),
  );
};

// Nine texts and the arms' names. Item ids are hashes: the first nine in their order are a random choice, the same
// for everybody.
Finetrial.showGuesses = async function (place, session, about, transport, onGuess) {
  const GUESSED = 9;
  const { element } = Finetrial;
  const cells = session.cells.filter((cell) => cell.occurrence === 1);
  cells.sort((a, b) => (a.item_id < b.item_id ? -1 : 1));
  const rows = [];
  for (const [number, cell] of cells.slice(0, GUESSED).entries()) {
    const contents = await transport.block(cell.block);
    const text = element("div", { className: "text excerpt", id: `guess-text-${number}` });
    const whole = contents.cells[session.place(cell) - session.blocks[cell.block].start].text;
    Finetrial.show(text, whole.slice(0, 600), null);
    const options = about.arms.map((arm) => element("option", { value: arm, textContent: arm }));
    const none = element("option", { value: "", textContent: "no guess" });
    const select = element("select", { id: `guess-${number}` }, none, ...options);
    select.value = cell.guess || "";
    select.setAttribute("aria-describedby", text.id);
    select.addEventListener("change", () => select.value && onGuess(cell, select.value));
    const label = element("label", { textContent: `Prompt ${session.promptOf(cell)}: ` });
    label.htmlFor = select.id;
    rows.push(element("div", { className: "guess" }, text, element("p", {}, label, select)));
  }
  place.replaceChildren(...rows);
};

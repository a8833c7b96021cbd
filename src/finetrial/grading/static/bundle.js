// Where do grades live when there is no server: in this browser, until they are saved to a file and sent back?
"use strict";

Finetrial.Refusal = class extends Error {};

// The state of the cells that events touched; the latest that was not undone counts. As store/grades.py has it.
Finetrial.foldEvents = function (events) {
  const undone = new Set(events.filter((event) => event.kind === "undo").map((event) => event.undoes));
  const cells = new Map();
  for (const event of events) {
    if (!event.item_id) continue;
    const key = `${event.item_id}/${event.occurrence}`;
    if (!cells.has(key)) {
      const { item_id, occurrence } = event;
      cells.set(key, { item_id, occurrence, value: null, reasons: [], note: null, guess: null });
    }
    const cell = cells.get(key);
    if (event.kind === "undo" || undone.has(event.uid)) continue;
    if (event.kind === "grade") Object.assign(cell, { value: event.value, reasons: event.reasons });
    if (event.kind === "note") cell.note = event.note || null;
    if (event.kind === "guess") cell.guess = event.value;
  }
  return [...cells.values()];
};

Finetrial.makeTransport = function (onTrouble) {
  const boot = JSON.parse(document.getElementById("boot").textContent);
  const PLACE = `finetrial-bundle:${boot.bundle}:`;
  let rater = null;
  let events = [];

  function read(name) {
    try {
      return JSON.parse(localStorage.getItem(PLACE + name)) || [];
    } catch {
      return [];
    }
  }

  function write() {
    try {
      localStorage.setItem(PLACE + rater, JSON.stringify(events));
      onTrouble(null);
    } catch {
      onTrouble("This browser keeps nothing between visits. Save your grades to a file before you close the page.");
    }
  }

  function known() {
    const names = [];
    try {
      for (let i = 0; i < localStorage.length; i += 1) {
        const key = localStorage.key(i);
        if (key.startsWith(PLACE)) names.push(key.slice(PLACE.length));
      }
    } catch {
      // no storage, nobody known
    }
    return names;
  }

  function aim(event) {
    const undone = new Set(events.filter((e) => e.kind === "undo").map((e) => e.undoes));
    const target = events.findLast((e) => (e.kind === "grade" || e.kind === "note") && !undone.has(e.uid));
    if (!target) return event;
    return { ...event, undoes: target.uid, item_id: target.item_id, occurrence: target.occurrence };
  }

  return {
    bundled: true,
    async start() {
      const raters = known().map((name) => ({
        name,
        done: Finetrial.foldEvents(read(name)).filter((cell) => cell.value !== null).length,
      }));
      return { ...boot.about, raters, rater: boot.rater, locked: false, folder: null };
    },
    async join(name) {
      rater = name.normalize("NFC").split(/\s+/).join(" ").trim();
      events = read(rater);
      return { rater, seq: events.length, blocks: boot.blocks, cells: Finetrial.foldEvents(events), locked: false };
    },
    block: async (number) => boot.contents[number],
    async send(event) {
      // Another tab of the same rater may have added to the list since.
      const stored = read(rater);
      if (stored.length > events.length) events = stored;
      const full = event.kind === "undo" ? aim(event) : event;
      events.push(full);
      write();
      const undone =
        full.kind === "undo" && full.undoes ? { item_id: full.item_id, occurrence: full.occurrence } : null;
      return { seq: events.length, cells: Finetrial.foldEvents(events), undone };
    },
    changes: async () => ({ seq: events.length, cells: Finetrial.foldEvents(events), locked: false }),
    // The one file that is sent back.
    file() {
      const content = {
        finetrial: "grades",
        version: 1,
        bundle: boot.bundle,
        items_hash: boot.items_hash,
        named: boot.rater !== null,
        rater,
        events,
      };
      const safe = `${boot.about.title}-${rater}`.replace(/[^\p{L}\p{N}._-]+/gu, "-");
      return { name: `grades-${safe}.json`, text: JSON.stringify(content, null, 1) };
    },
  };
};

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
  const LAST = "finetrial-bundle-rater"; // of this tab: a reload keeps the rater
  let rater = null;
  let kind = null;
  let events = [];

  // {kind, events}; older pages kept the events alone.
  function stored(name) {
    const content = read(name);
    return Array.isArray(content) ? { kind: null, events: content } : content;
  }

  function lastRater() {
    try {
      return sessionStorage.getItem(`${LAST}:${boot.bundle}`);
    } catch {
      return null;
    }
  }

  function read(name) {
    try {
      return JSON.parse(localStorage.getItem(PLACE + name)) || [];
    } catch {
      return [];
    }
  }

  function write() {
    try {
      localStorage.setItem(PLACE + rater, JSON.stringify({ kind, events }));
      sessionStorage.setItem(`${LAST}:${boot.bundle}`, rater);
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
        done: Finetrial.foldEvents(stored(name).events).filter((cell) => cell.value !== null).length,
      }));
      const name = boot.rater || lastRater();
      const declared = name === null ? null : stored(name).kind;
      return {
        ...boot.about,
        raters: boot.rater === null ? raters : [],
        rater: boot.rater === null && declared === null ? null : name,
        kind: declared,
        theirs: declared !== null,
        elsewhere: false,
        locked: false,
        folder: null,
      };
    },
    async enter(name) {
      return { rater: name.normalize("NFC").split(/\s+/).join(" ").trim(), link: null };
    },
    async begin(mode, declared, name) {
      rater = name;
      ({ kind, events } = stored(rater));
      if (declared !== null) kind = declared;
      write();
      const cells = Finetrial.foldEvents(events);
      return { rater, kind, seq: events.length, blocks: boot.blocks, numbers: boot.numbers, cells, locked: false };
    },
    block: async (number) => boot.contents[number],
    formatted: async (number) => boot.formatted[number],
    async send(event) {
      // Another tab of the same rater may have added to the list since.
      const kept = stored(rater).events;
      if (kept.length > events.length) events = kept;
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
        rater_kind: kind,
        events,
      };
      const safe = `${boot.about.title}-${rater}`.replace(/[^\p{L}\p{N}._-]+/gu, "-");
      return { name: `grades-${safe}.json`, text: JSON.stringify(content, null, 1) };
    },
  };
};

// Where does the rater stand: which cells are open, which one is shown, how long will the rest take?
"use strict";

Finetrial.Session = class {
  constructor(joined) {
    this.rater = joined.rater;
    this.kind = joined.kind;
    this.numbers = joined.numbers; // of the prompt that each block visits
    this.prompts = Math.max(0, ...joined.numbers);
    this.seq = joined.seq;
    this.blocks = []; // [{start, size}]
    this.cells = []; // in the order of this rater
    this.places = new Map();
    this.position = 0;
    this.recent = []; // milliseconds of the latest grades of this sitting
    this.given = 0;
    this.open = 0;
    for (const block of joined.blocks) {
      this.blocks.push({ start: this.cells.length, size: block.length });
      const number = this.blocks.length - 1;
      for (const packed of block) {
        // The id alone when open; see page.plan_cells.
        const [item_id, occurrence, value, reasons, note, guess] =
          typeof packed === "string" ? [packed, 1, null, [], null, null] : packed;
        this.places.set(`${item_id}/${occurrence}`, this.cells.length);
        this.cells.push({ item_id, occurrence, block: number, value, reasons, note, guess });
        this.open += value === null;
      }
    }
    // A prompt may be visited twice; its samples are counted through.
    this.sizes = new Map(); // prompt number -> its samples
    for (const cell of this.cells) {
      cell.number = (this.sizes.get(this.promptOf(cell)) || 0) + 1;
      this.sizes.set(this.promptOf(cell), cell.number);
    }
    this.apply(joined.cells || []); // a bundle's own events
  }

  apply(states) {
    for (const state of states) {
      const place = this.places.get(`${state.item_id}/${state.occurrence}`);
      if (place === undefined) continue;
      const cell = this.cells[place];
      this.open += (cell.value !== null) - (state.value !== null);
      Object.assign(cell, state);
    }
  }

  // The number of the prompt under which a cell stands, from 1.
  promptOf(cell) {
    return this.numbers[cell.block];
  }

  place(cell) {
    return this.places.get(`${cell.item_id}/${cell.occurrence}`);
  }

  get current() {
    return this.cells[this.position];
  }

  get done() {
    return this.cells.length - this.open;
  }

  // The next open cell after a place, from the beginning again at the end; null when none is open.
  nextOpen(from) {
    if (this.open === 0) return null;
    const total = this.cells.length;
    for (let step = 0; step < total; step += 1) {
      const place = (from + step) % total;
      if (this.cells[place].value === null) return place;
    }
    return null;
  }

  took(milliseconds) {
    this.given += 1;
    this.recent.push(milliseconds);
    if (this.recent.length > 30) this.recent.shift();
  }

  get medianMs() {
    if (this.recent.length === 0) return null;
    const sorted = [...this.recent].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  // Nobody reads a text in less than `seconds`; said from five grades on.
  isTooFast(seconds) {
    return this.given >= 5 && this.medianMs < 1000 * seconds;
  }

  // Undefined before three grades: a first grade holds the time of reading the rules.
  get secondsLeft() {
    return this.given < 3 ? null : (this.medianMs * this.open) / 1000;
  }

  count(value) {
    return this.cells.reduce((sum, cell) => sum + (cell.value === value), 0);
  }
};

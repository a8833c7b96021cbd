// How is a model's output shown as the text it is, whatever it contains?
"use strict";
var Finetrial = {};

// C0 and C1 controls but tab and newline, and the characters that turn the direction of the text around them.
Finetrial.CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]/g;
Finetrial.LONG_TEXT = 20000;

Finetrial.controlLabel = function (character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code); // Unicode's own pictures of controls
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
};

// Append text to an element as text nodes; characters that cannot be seen become small labels.
Finetrial.appendText = function (element, text) {
  let last = 0;
  for (const match of text.matchAll(Finetrial.CONTROL)) {
    if (match.index > last) element.append(text.slice(last, match.index));
    const label = document.createElement("span");
    label.className = "control";
    label.textContent = Finetrial.controlLabel(match[0]);
    element.append(label);
    last = match.index + match[0].length;
  }
  if (last < text.length) element.append(text.slice(last));
};

// Fade the end of a box whose text goes on below it.
Finetrial.markOverflow = function (element) {
  const beyond = element.scrollHeight - element.clientHeight - element.scrollTop;
  element.classList.toggle("goes-on", beyond > 4);
};

// Replace an element's content by a text. Very long texts show their beginning and a button for the rest.
Finetrial.putText = function (element, text) {
  element.replaceChildren();
  element.dir = "auto";
  element.scrollTop = 0;
  const clean = text.replaceAll("\r\n", "\n");
  if (clean.trim() === "") {
    const empty = document.createElement("em");
    empty.className = "quiet";
    empty.textContent = clean === "" ? "(nothing at all: the text is empty)" : "(white space only)";
    element.append(empty);
    return;
  }
  if (clean.length <= Finetrial.LONG_TEXT) {
    Finetrial.appendText(element, clean);
    return;
  }
  let cut = Finetrial.LONG_TEXT;
  if (/[\ud800-\udbff]/.test(clean[cut - 1])) cut -= 1;
  Finetrial.appendText(element, clean.slice(0, cut));
  const more = document.createElement("button");
  more.type = "button";
  more.className = "plain more";
  more.textContent = `Show the other ${(clean.length - cut).toLocaleString("en")} characters`;
  more.addEventListener("click", () => {
    more.remove();
    Finetrial.appendText(element, clean.slice(cut));
  });
  element.append(more);
};

Finetrial.element = function (tag, properties, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
};

Finetrial.newId = function () {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

Finetrial.duration = function (seconds) {
  if (seconds < 50) return "less than a minute";
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return minutes === 1 ? "about a minute" : `about ${minutes} minutes`;
  return `about ${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
};

// What this browser was told to remember; a private window may refuse, and then it holds for this visit.
Finetrial.remembered = function (name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};

Finetrial.remember = function (name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // for this visit only
  }
};

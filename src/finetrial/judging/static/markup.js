// Build the elements of a formatted text, one by one: no HTML is parsed, and no tag gets in that is not listed here.
"use strict";

Finetrial.BLOCKS = new Set(
  ["p", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "em", "strong", "s", "br", "hr", "code"],
);

// A node is a text or [tag, attribute, children]; see formatted.py.
Finetrial.appendNodes = function (parent, nodes) {
  for (const node of nodes) {
    if (typeof node === "string") {
      Finetrial.appendText(parent, node);
      continue;
    }
    const [tag, attribute, children] = node;
    const made = Finetrial.elementOf(tag, attribute);
    Finetrial.appendNodes(made, children);
    if (tag === "link" && attribute) {
      const address = Finetrial.element("span", { className: "quiet" });
      Finetrial.appendText(address, ` (${attribute})`);
      if (made.textContent !== attribute) made.append(address);
    }
    parent.append(made);
  }
};

Finetrial.elementOf = function (tag, attribute) {
  const { element } = Finetrial;
  if (tag === "pre") {
    // Wide code scrolls by itself and must be reached without a mouse.
    const code = element("pre", { className: "code", tabIndex: 0 });
    code.setAttribute("role", "group");
    code.setAttribute("aria-label", attribute ? `Code, ${attribute}` : "Code");
    return code;
  }
  if (tag === "picture") {
    const shown = element("span", { className: "control" });
    Finetrial.appendText(shown, attribute ? `picture ${attribute}: ` : "picture: ");
    return shown;
  }
  if (tag === "link") return element("span", { className: "link" });
  // A sample's headings are no headings of this page.
  if (/^h[1-6]$/.test(tag)) return element("div", { className: `heading ${tag}` });
  if (!Finetrial.BLOCKS.has(tag)) return element("span", {});
  const made = document.createElement(tag);
  if (tag === "ol" && /^\d{1,9}$/.test(attribute || "")) made.start = Number(attribute);
  return made;
};

Finetrial.putNodes = function (box, nodes) {
  box.replaceChildren();
  box.dir = "auto";
  box.scrollTop = 0;
  Finetrial.appendNodes(box, nodes);
};

// A text, formatted where it was asked for and there is something to format.
Finetrial.show = function (box, text, nodes) {
  box.classList.toggle("formatted", Boolean(nodes));
  if (nodes) Finetrial.putNodes(box, nodes);
  else Finetrial.putText(box, text);
  Finetrial.markOverflow(box);
};

// The turns of a chat, each under the name of who speaks.
Finetrial.showTurns = function (box, turns, formatted) {
  const { element } = Finetrial;
  box.classList.remove("formatted");
  box.removeAttribute("dir");
  box.scrollTop = 0;
  const shown = turns.map(([role, content], number) => {
    const said = element("div", { className: "said" });
    Finetrial.show(said, content, formatted && formatted[number]);
    const who = role.charAt(0).toUpperCase() + role.slice(1);
    const turn = element("div", { className: "turn" }, element("p", { className: "speaker" }), said);
    if (role === "assistant") turn.classList.add("answering");
    Finetrial.appendText(turn.firstChild, who);
    return turn;
  });
  box.replaceChildren(...shown);
  Finetrial.markOverflow(box);
};

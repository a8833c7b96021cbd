// What does a rater read before the first grade, and how do they say who they are?
"use strict";

Finetrial.showStart = function (about, { bundled, onBegin, onGoOn }) {
  const by = (id) => document.getElementById(id);
  const { element } = Finetrial;
  const pairs = about.mode === "pairs";
  const things = pairs ? "pairs of samples" : about.cells === 1 ? "sample" : "samples";
  const count = `${about.cells.toLocaleString("en")} ${things} under ${about.prompts} prompt${about.prompts === 1 ? "" : "s"}.`;
  let how = "Read the prompt once, then say good or bad to each sample: J for good, F for bad.";
  if (pairs) how = "Say which of two is better: F for A on the left, J for B on the right.";
  else if (about.scale) how = `Read the prompt once, then grade each sample with the keys 1 to ${about.scale.labels.length}.`;
  by("start-lead").textContent = `${count} ${how}`;
  if (pairs) by("start-title").textContent = "Which of the two is better?";
  else if (about.scale) by("start-title").textContent = "How good is each of these?";
  by("start-scale").hidden = !about.scale;
  if (about.scale) {
    const names = about.scale.labels.map((label, number) => (label === String(number + 1) ? label : `${number + 1} ${label}`));
    by("start-scale").textContent = `${names.join(" · ")}. ${about.scale.rule}.`.replace(/\. ([a-z])/, (_, c) => `. ${c.toUpperCase()}`);
  }
  const criterion = about.criterion || "None was written down. Decide what makes a sample good before you begin, and keep to it.";
  by("start-criterion").textContent = criterion;
  by("criterion").textContent = about.criterion || "none was written down";
  by("reach").replaceChildren(...about.reach.map((sentence) => element("li", { textContent: sentence })));
  by("on-disk").textContent = bundled
    ? "Every grade is kept in this browser at once; at the end you save them as one file."
    : "Every grade is on the disk before the next sample appears. Close the page whenever you like.";

  by("known").hidden = about.raters.length === 0;
  for (const rater of about.raters) {
    const done = element("span", { className: "quiet", textContent: ` ${rater.done} graded` });
    const button = element("button", { type: "button", className: "plain known" }, `Go on as ${rater.name}`, done);
    button.addEventListener("click", () => onGoOn(rater));
    by("known-raters").append(button);
  }
  by("name-row").hidden = about.rater !== null;
  by("name").required = about.rater === null;
  by("named").hidden = about.rater === null;
  by("named").textContent = about.rater === null ? "" : `You grade as ${about.rater}.`;
  by("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = event.submitter && event.submitter.value ? event.submitter.value : "person";
    onBegin(about.rater === null ? by("name").value : about.rater, kind);
  });
};

Finetrial.showElsewhere = function (about) {
  document.getElementById("elsewhere-title").textContent = `This is ${about.rater}’s own link`;
  document.getElementById("elsewhere-lead").textContent =
    `${about.rater} began in another browser, and only there the link goes on. So nobody else’s grades are taken for ${about.rater}’s.`;
};

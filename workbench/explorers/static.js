// Explorers without a kernel: each slider position has a picture that was computed beforehand, drawn over the first one.
"use strict";
for (const section of document.querySelectorAll(".static-explorer")) {
  const { states, starts, crossed } = JSON.parse(section.querySelector("script").textContent);
  const controls = [...section.querySelectorAll("input, select")];
  const outputs = controls.map(control => control.closest("label").querySelector("output"));
  const words = controls.map(control => JSON.parse(control.dataset.words));
  const [base, over] = section.querySelectorAll(".picture img");
  const readout = section.querySelector(".readout");
  const command = section.querySelector(".command");
  const title = section.querySelector(".title").textContent;
  const key = () => controls.map(control => control.value).join();

  function show(moved) {
    // Where a combination was not computed the others go back to their start: first those that were never crossed.
    for (const spared of [index => index < crossed, () => false])
      if (!(key() in states))
        controls.forEach((control, index) => { if (index !== moved && !spared(index)) control.value = starts[index]; });
    const [picture, text, line] = states[key()];
    const chosen = controls.map((control, index) => words[index][control.value]);
    controls.forEach((control, index) => {
      outputs[index].value = chosen[index];
      control.setAttribute("aria-valuetext", chosen[index]);
    });
    over.hidden = !picture;
    if (picture) over.src = "data:image/png;base64," + picture;
    section.querySelector(".picture").classList.toggle("none", picture === null);
    readout.value = text;
    if (command) command.textContent = line;
    base.alt = `${title}; ${controls.map((control, index) => `${control.dataset.label} ${chosen[index]}`).join(", ")}. ${text}`;
  }

  controls.forEach((control, index) => control.addEventListener("input", () => show(index)));
  section.querySelector("form").addEventListener("reset", event => {
    event.preventDefault();
    controls.forEach((control, index) => { control.value = starts[index]; });
    show(-1);
  });
  section.querySelector("form").hidden = false;
  show(-1);
}

"use strict";

const $ = (id) => document.getElementById(id);
const limits = document.body.dataset;
let address = null;
let waiting = null;

function fail(words) {
  $("error").textContent = words;
  $("error").hidden = false;
}

function show(answer, name) {
  // The report's own policy allows nothing from elsewhere; its text is escaped, and scripts of a parsed text never run.
  const parsed = new DOMParser().parseFromString(answer.main, "text/html");
  $("result").replaceChildren(parsed.querySelector("main"));
  address = URL.createObjectURL(new Blob([answer.report], { type: "text/html" }));
  $("report").href = address;
  $("report").download = name.replace(/\.[^.]*$/, "") + "_report.html";
  $("save").hidden = false;
}

async function score(file) {
  if ($("drop").classList.contains("busy")) return;
  $("error").hidden = $("save").hidden = true;
  $("result").replaceChildren();
  if (address) URL.revokeObjectURL(address);
  address = null;
  if (file.size > limits.maxMb * 1e6) {
    fail(`${file.name} has ${Math.ceil(file.size / 1e6)} MB; ${limits.maxMb} MB is the most.`);
    return;
  }
  waiting = null;
  if ($("difficulty") && !$("difficulty").checkValidity()) {
    waiting = file;
    fail(`Give the difficulty of the action; then ${file.name} is scored.`);
    $("difficulty").focus();
    return;
  }
  const query = new URLSearchParams({ page: "1", name: file.name });
  if ($("difficulty")) query.set("difficulty", $("difficulty").value);
  const start = performance.now();
  const tick = () => {
    const seconds = Math.floor((performance.now() - start) / 1000);
    $("state").textContent = `Scoring ${file.name} … ${seconds} s`;
  };
  tick();
  const timer = setInterval(tick, 1000);
  $("drop").classList.add("busy");
  try {
    const response = await fetch(`score?${query}`, {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    const answer = await response.json();
    if (answer.error) fail(answer.error);
    else show(answer, file.name);
    $($("save").hidden ? "error" : "save").scrollIntoView({ block: "start" });
  } catch (error) {
    fail("The page's program does not answer: is it still running?");
  } finally {
    clearInterval(timer);
    $("state").textContent = "";
    $("drop").classList.remove("busy");
    $("file").value = "";
  }
}

$("form").addEventListener("submit", (event) => event.preventDefault());
$("file").addEventListener("change", () => { if ($("file").files[0]) score($("file").files[0]); });
if ($("difficulty")) $("difficulty").addEventListener("change", () => { if (waiting) score(waiting); });
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) score(event.dataTransfer.files[0]);
  });
}

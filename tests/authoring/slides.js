// Letters become smaller until a slide's content fits; then reveal.js shows one slide at a time.
const SIZE = {width: 1280, height: 720}, LARGEST = 34, SMALLEST = 16, MARGIN = 8, LEAST_PICTURE = 320;
const NOTES = `body { font: 20px/1.5 "DejaVu Sans", Arial, sans-serif; max-width: 34em; margin: 0 auto; padding: 0 1em 2em; color: #1A1A1A; }
  header { position: sticky; top: 0; background: #fff; border-bottom: 2px solid #0072B2; padding: 0.5em 0; display: grid; }
  time { float: right; justify-self: end; } span, summary { color: #595959; font-size: 80%; } img { max-width: 100%; height: auto; }
  pre { font-size: 70%; white-space: pre-wrap; } .anchor-link { display: none; } table { border-collapse: collapse; } td, th { padding: 0 0.5em; }`;
const wrong = (page) => {
  const edge = page.getBoundingClientRect();
  const right = edge.left + SIZE.width - MARGIN, bottom = edge.top + SIZE.height - MARGIN;
  const parts = [page, ...page.querySelectorAll("*")];
  const small = [...page.querySelectorAll(".picture")].some((e) => e.getBoundingClientRect().height < LEAST_PICTURE);
  const outside = parts.slice(1).map((e) => e.getBoundingClientRect()).some((b) => b.width && (b.right > right || b.bottom > bottom));
  return small || outside || parts.some((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1);
};
addEventListener("load", () => {
  for (const page of document.querySelectorAll(".page")) {
    let size = LARGEST;
    page.style.fontSize = size + "px";
    while (size > SMALLEST && wrong(page)) page.style.fontSize = --size + "px";
    page.dataset.letters = size;
    page.dataset.wrong = wrong(page);
  }
  document.body.dataset.fitted = "yes";
  Reveal.initialize({...SIZE, margin: 0, center: false, transition: "none", history: true, slideNumber: true});
  // S opens what the speaker has to say, in a window that follows the slides: the words first, the code folded.
  let notes = null;
  const titleOf = (page) => page ? page.querySelector("h2").textContent : "the end";
  const tell = () => {
    if (!notes || notes.closed) return;
    const page = Reveal.getCurrentSlide(), body = notes.document.body;
    body.innerHTML = "<header><time></time><b></b><span></span></header>" + page.querySelector("aside").innerHTML;
    body.querySelector("b").textContent = titleOf(page);
    body.querySelector("span").textContent = "Next: " + titleOf(page.nextElementSibling);
    for (const code of body.querySelectorAll(".highlight")) {
      const fold = notes.document.createElement("details");
      fold.innerHTML = "<summary>code</summary>";
      code.replaceWith(fold);
      fold.append(code);
    }
    tick();
  };
  const tick = () => {
    const clock = notes && !notes.closed && notes.document.querySelector("time");
    if (clock) clock.textContent = new Date().toTimeString().slice(0, 5);
  };
  setInterval(tick, 1000);
  Reveal.addEventListener("slidechanged", tell);
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "s") return;
    notes = window.open("", "notes", "width=700,height=800");
    notes.document.title = "Speaker's notes";
    notes.document.head.innerHTML = "<style>" + NOTES + "</style>";
    tell();
  });
});

// Tells people who do not see the page what happened in it.
const put = (live, text) => { live.textContent = live.textContent === text ? text + '\u00a0' : text; }; // the same again is told again

export function say(text) {
  put(document.getElementById('said'), text);
  // What is behind a dialog is not read out: it has a region of its own.
  const dialog = document.querySelector('dialog[open]');
  if (!dialog?.firstElementChild) return;
  let live = dialog.querySelector(':scope > [data-said]');
  if (!live) {
    live = document.createElement('p');
    live.className = 'unseen';
    live.setAttribute('role', 'status');
    live.dataset.said = '';
    dialog.append(live);
  }
  setTimeout(() => put(live, text), 100); // a region is heeded once it is there
}

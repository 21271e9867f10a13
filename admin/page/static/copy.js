// Buttons with data-copy put that text on the clipboard, and say so. A button
// with data-copy-from copies the text of the element with that id.
import { say } from './say.js';

const told = new WeakMap();

async function put(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without TLS there is no clipboard but that of the selection.
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'unseen';
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('not copied');
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy], [data-copy-from]');
  if (!button) return;
  const from = button.dataset.copyFrom;
  let word = 'Copied';
  try {
    await put(from ? document.getElementById(from).textContent : button.dataset.copy);
    button.focus({ preventScroll: true });
  } catch {
    word = 'Could not copy';
  }
  say(word);
  button.dataset.told = word;
  clearTimeout(told.get(button));
  told.set(button, setTimeout(() => { delete button.dataset.told; }, 1600));
});

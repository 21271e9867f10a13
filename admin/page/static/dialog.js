// The one dialog. Forms and details are loaded into it; without script the same
// addresses are pages. data-hold in it keeps it open until that is gone.
const dialog = document.getElementById('dialog');

document.addEventListener('htmx:afterSwap', ({ detail }) => {
  if (detail.target !== dialog) return;
  if (!dialog.querySelector('*')) {
    dialog.close();
  } else if (!dialog.open) {
    dialog.showModal();
  }
});

const held = () => dialog.querySelector('[data-hold]') !== null;
const close = () => { if (!held()) dialog.close(); };

dialog.addEventListener('cancel', (event) => { if (held()) event.preventDefault(); });
dialog.addEventListener('click', (event) => {
  if (event.target === dialog || event.target.closest('[data-close]')) close();
});
// Nothing of it stays in the document.
dialog.addEventListener('close', () => { dialog.replaceChildren(); });
document.addEventListener('keyreeve:done', () => {
  dialog.replaceChildren(); // before the answer is swapped in, which would open it again
  if (dialog.open) dialog.close();
});

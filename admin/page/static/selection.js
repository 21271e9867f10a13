// Rows that are ticked stay so when the table is loaded anew. A form with
// data-selection shows how many there are, and is shown only when there are any.
const chosen = new Set();

const boxes = () => document.querySelectorAll('input[data-select]');

function show() {
  const form = document.querySelector('[data-selection]');
  if (!form) return;
  const all = [...boxes()];
  const ticked = all.filter((box) => box.checked).length;
  form.toggleAttribute('data-some', ticked > 0);
  const count = form.querySelector('[data-selected]');
  if (count) count.textContent = ticked + ' selected';
  const every = document.querySelector('input[data-select-all]');
  if (every) {
    every.checked = all.length > 0 && ticked === all.length;
    every.indeterminate = ticked > 0 && ticked < all.length;
  }
}

function restore() {
  const there = new Set();
  for (const box of boxes()) {
    there.add(box.value);
    if (chosen.has(box.value)) box.checked = true;
  }
  // What is on another page is not acted on unseen.
  for (const id of chosen) if (!there.has(id)) chosen.delete(id);
  show();
}

document.addEventListener('change', ({ target }) => {
  if (target.matches?.('input[data-select-all]')) {
    for (const box of boxes()) {
      box.checked = target.checked;
      chosen[target.checked ? 'add' : 'delete'](box.value);
    }
    show();
  } else if (target.matches?.('input[data-select]')) {
    chosen[target.checked ? 'add' : 'delete'](target.value);
    show();
  }
});

document.addEventListener('click', ({ target }) => {
  if (!target.closest?.('[data-select-none]')) return;
  chosen.clear();
  for (const box of boxes()) box.checked = false;
  show();
  document.querySelector('input[data-select-all]')?.focus();
});

document.addEventListener('htmx:afterSettle', restore);
restore();

// The matrix of a role's form: rows are found by text, and a whole column of those
// in sight can be set at once.
import { say } from './say.js';

const shown = (row) => !row.closest('[hidden]');

function filter(input) {
  const form = input.form;
  const text = input.value.trim().toLowerCase();
  let any = false;
  for (const group of form.querySelectorAll('[data-group]')) {
    const [head, ...members] = group.querySelectorAll('[data-grant]');
    const whole = head.dataset.grant.includes(text);
    let some = false;
    for (const row of members) {
      row.hidden = !whole && !row.dataset.grant.includes(text);
      some ||= !row.hidden;
    }
    group.hidden = !whole && !some;
    any ||= !group.hidden;
    const details = group.querySelector('details');
    if (details && text && some && !whole) details.open = true;
  }
  for (const section of form.querySelectorAll('[data-section]')) {
    section.hidden = !section.querySelector('[data-group]:not([hidden])');
  }
  form.querySelector('[data-no-grants]').hidden = any;
}

// Rows of groups count for their members; wildcards are too much to be set unseen.
function setAll(button) {
  const level = button.dataset.setLevel;
  let set = 0;
  for (const group of button.closest('[data-section]').querySelectorAll('[data-group]')) {
    const row = group.querySelector('[data-grant]');
    const radio = row.querySelector(`input[value="${level}"]`);
    if (!shown(row) || 'whole' in row.dataset || radio.disabled) continue;
    radio.checked = true;
    set += 1;
  }
  say(set === 1 ? '1 row set to ' + level : set + ' rows set to ' + level);
}

document.addEventListener('input', ({ target }) => {
  if (target.matches?.('[data-filter-grants]')) filter(target);
});
document.addEventListener('keydown', (event) => {
  // Enter in the filter looks for something: it does not send the form.
  if (event.key === 'Enter' && event.target.matches?.('[data-filter-grants]')) event.preventDefault();
});
document.addEventListener('click', ({ target }) => {
  const button = target.closest?.('[data-set-level]');
  if (button) setAll(button);
});

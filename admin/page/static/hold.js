// What must not be lost unseen: an element with data-hold keeps the dialog or page
// that it is in from being closed until its tick, data-release, is set.
export const held = (within = document) => within.querySelector('[data-hold]:not(:has([data-release]:checked))');

// Says at the tick why nothing closes.
export function refuse(hold) {
  const why = hold.querySelector('[data-why]');
  if (why) {
    why.textContent = 'Tick “I have stored it” first: once this is closed, the secret cannot be shown again.';
    why.hidden = false;
  }
  hold.querySelector('[data-release]')?.focus();
}

document.addEventListener('change', ({ target }) => {
  if (!target.matches?.('[data-release]')) return;
  const why = target.closest('[data-hold]').querySelector('[data-why]');
  if (why && target.checked) why.hidden = true;
});

addEventListener('beforeunload', (event) => { if (held()) event.preventDefault(); });

// A page that is left may be kept, to go back to: what has data-secret is not kept in it.
addEventListener('pagehide', () => {
  for (const secret of document.querySelectorAll('[data-secret]')) {
    const dialog = secret.closest('dialog');
    if (!dialog) {
      secret.replaceChildren(secret.dataset.secret);
      continue;
    }
    dialog.replaceChildren();
    dialog.close();
  }
});

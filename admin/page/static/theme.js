// A theme is seen as soon as it is chosen.
document.addEventListener('change', ({ target }) => {
  if (target.name === 'theme' && target.closest('[data-themes]')) document.documentElement.dataset.theme = target.value;
});

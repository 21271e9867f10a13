// Tells people who do not see the page what happened in it.
export function say(text) {
  const live = document.getElementById('said');
  if (live.textContent === text) text += '\u00a0'; // the same again is told again
  live.textContent = text;
}

// The desk on the keyboard.

const SEEK_S = 5;

/** Passes keys on to the desk, except where they already mean something. */
export function listenToKeys(desk, wanted) {
  document.addEventListener("keydown", (event) => {
    if (!wanted() || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea")) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    if (event.code === "Space") {
      if (event.target.closest("button, a, summary")) return;
      desk.toggle();
    } else if (event.code === "ArrowLeft") desk.move(-SEEK_S);
    else if (event.code === "ArrowRight") desk.move(SEEK_S);
    else if (event.key.toLowerCase() === "l") desk.toggleLoop();
    else if (digit === "0") desk.reset();
    else if (digit && event.shiftKey) desk.mute(Number(digit) - 1);
    else if (digit) desk.solo(Number(digit) - 1);
    else return;
    event.preventDefault();
  });
}

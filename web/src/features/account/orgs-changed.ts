// Tells the bar that a person's organisations are others now: one was made, left, or joined.
const changed = new EventTarget();

export function orgsChanged(): void {
  changed.dispatchEvent(new Event("orgs"));
}

/** Returns the way to stop listening. */
export function onOrgsChanged(listener: () => void): () => void {
  changed.addEventListener("orgs", listener);
  return () => changed.removeEventListener("orgs", listener);
}

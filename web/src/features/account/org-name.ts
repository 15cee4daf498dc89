// Whether somebody has typed an organisation's name to say that they mean it.

const plain = (text: string) => text.trim().replace(/\s+/g, " ").toLowerCase();

/** Without case, as the API compares; and by single spaces, since a page shows no others. */
export function meant(typed: string, name: string): boolean {
  return plain(typed) !== "" && plain(typed) === plain(name);
}

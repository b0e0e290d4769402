// Words and numbers as people read them; the same rules as the report's (report/wording.py, metrics.percent).

// Control characters, halves of surrogate pairs, line separators, and what turns the direction of reading. A joiner
// inside an emoji is part of it and stays.
const INVISIBLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u00ad\u200c\u200d\u{e0020}-\u{e007f}])\p{Cf}/gu;

const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

export function visible(text) {
  return String(text).replace(INVISIBLE, (letter) => {
    if (SHORT[letter]) return SHORT[letter];
    const code = letter.codePointAt(0);
    const digits = code.toString(16);
    if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
  });
}

// Cut the middle out of a long name: its end tells which file of a sequence it is.
export function shorten(text, length = 80) {
  const letters = [...text];
  if (letters.length <= length) return text;
  const half = Math.floor(length / 2);
  return `${letters.slice(0, half).join("")}…${letters.slice(letters.length - (length - half - 1)).join("")}`;
}

// Never 100 % or 0 % for what is not.
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0 || share === 1) return `${share * 100}\u00a0%`;
  let digits = 1;
  while (digits < 6 && [0, 1].includes(Number(share.toFixed(digits + 2)))) digits += 1;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

// As short as a card needs it; the table and the downloads have all digits.
export function roughly(share) {
  const shown = (100 * share).toFixed(1);
  if (share > 0 && shown === "0.0") return "<\u00a00.1\u00a0%";
  return share < 1 && shown === "100.0" ? ">\u00a099.9\u00a0%" : percent(share);
}

export const count = (number, noun, nouns = `${noun}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? noun : nouns}`;

export function megabytes(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} KB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

export const stopped = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);

// Not for what begins with a name of the user's: "cat" and "Cat" are two classes.
export function sentence(text) {
  const trimmed = text.trim();
  return stopped(`${trimmed.slice(0, 1).toUpperCase()}${trimmed.slice(1)}`);
}

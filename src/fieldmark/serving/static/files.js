// Every way that images come in: dropped (folders too), chosen, pasted, or from a phone's camera.
import { byId } from "./dom.js";

const isHidden = (path) =>
  path.split("/").some((part) => part.startsWith(".")) || /(^|\/)(Thumbs\.db|desktop\.ini)$/i.test(path);

// Hands over [{file, path}] and how many hidden files were left out.
function hand(found, onfiles) {
  const kept = found.filter(({ path }) => !isHidden(path));
  onfiles(kept, found.length - kept.length);
}

const named = (file) => ({ file, path: file.webkitRelativePath || file.name });

async function entriesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  // A reader gives a hundred entries at a time, then none.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}

// Folder by folder; only the entries are held, a File is no more than a handle.
async function walk(entries) {
  const found = [];
  const left = [...entries].reverse();
  while (left.length) {
    const entry = left.pop();
    if (entry.isDirectory) left.push(...(await entriesOf(entry)).reverse());
    else {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      // What cannot be read is sent empty, and gets its row with a problem.
      found.push({ file: file ?? new File([], entry.name), path: entry.fullPath.replace(/^\//, "") });
    }
  }
  return found;
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.some((entry) => entry.isDirectory)) return walk(entries);
  return [...transfer.files].map(named);
}

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

function acceptDrops(onfiles) {
  let depth = 0; // dragenter and dragleave come for every element passed over
  const show = (inside) => document.body.classList.toggle("dragging", inside);
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    hand(await dropped(event.dataTransfer), onfiles);
  });
}

function acceptChoices(onfiles) {
  for (const name of ["files", "folder", "camera"]) {
    const input = byId(`choose-${name}`);
    byId(`button-${name}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      hand([...input.files].map(named), onfiles);
      input.value = ""; // so that the same file may be chosen again
    });
  }
}

function acceptPaste(onfiles) {
  let pasted = 0;
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    // A picture from the clipboard is called image.png every time.
    const path = (file) =>
      /^image\.\w+$/.test(file.name) ? `pasted-${(pasted += 1)}.${file.name.split(".").at(-1)}` : file.name;
    hand(
      files.map((file) => ({ file, path: path(file) })),
      onfiles,
    );
  });
}

export function acceptFiles(onfiles) {
  acceptDrops(onfiles);
  acceptChoices(onfiles);
  acceptPaste(onfiles);
}

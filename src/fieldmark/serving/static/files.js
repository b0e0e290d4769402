// Every way that images come in: dropped (folders too), chosen, pasted, or from a phone's camera.
import { byId } from "./dom.js";

const isHidden = (path) =>
  path.split("/").some((part) => part.startsWith(".")) || /(^|\/)(Thumbs\.db|desktop\.ini)$/i.test(path);

// Hands over [{file, path}], how many hidden files were left out, and how they came. `unreadable` says why a file is none.
function hand(found, onfiles, how) {
  const kept = found.filter(({ path }) => !isHidden(path));
  onfiles(kept, found.length - kept.length, how);
}

const named = (file) => ({ file, path: file.webkitRelativePath || file.name });

// What the folder holds, and whether that is all of it: the system may not let the browser read it.
async function entriesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  try {
    // A reader gives a hundred entries at a time, then none.
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return [found, true];
      found.push(...some);
    }
  } catch {
    return [found, false];
  }
}

const unread = (entry, path) => ({
  file: new File([], entry.name),
  path,
  unreadable: `the browser cannot read this ${entry.isDirectory ? "folder" : "file"}: may you read it, is it still there?`,
});

// Folder by folder; only the entries are held, a File is no more than a handle.
async function walk(entries) {
  const found = [];
  const left = [...entries].reverse();
  while (left.length) {
    const entry = left.pop();
    const path = entry.fullPath.replace(/^\//, "");
    // What cannot be read gets its row with a problem; nothing beside it is lost.
    if (entry.isDirectory) {
      const [below, complete] = await entriesOf(entry);
      left.push(...below.reverse());
      if (!complete) found.push(unread(entry, path));
    } else {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      found.push(file ? { file, path } : unread(entry, path));
    }
  }
  return found;
}

async function dropped(transfer, onreading) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files].map(named);
  onreading(); // a large folder takes seconds
  return walk(entries);
}

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

function acceptDrops(onfiles, onreading) {
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
    hand(await dropped(event.dataTransfer, onreading), onfiles, "dropped");
  });
}

function acceptChoices(onfiles) {
  for (const name of ["files", "folder", "camera"]) {
    const input = byId(`choose-${name}`);
    byId(`button-${name}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      hand([...input.files].map(named), onfiles, "chosen");
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
      "pasted",
    );
  });
}

// `onreading` hears of a folder before the first of it is read.
export function acceptFiles(onfiles, onreading) {
  acceptDrops(onfiles, onreading);
  acceptChoices(onfiles);
  acceptPaste(onfiles);
}

// Small pictures made in the browser from the files themselves; two at a time, on canvases, so no address is kept.
const SIDE = 480; // pixels of the longer side
const AT_ONCE = 2;

const waiting = [];
let working = 0;

// Draws the file into the canvas; `onfail` where the browser cannot show its format. Skipped when no longer wanted.
export function draw(canvas, file, { isWanted, ondone, onfail }) {
  waiting.push({ canvas, file, isWanted, ondone, onfail });
  work();
}

function work() {
  while (working < AT_ONCE && waiting.length) {
    const task = waiting.shift();
    if (!task.isWanted()) continue;
    working += 1;
    make(task).finally(() => {
      working -= 1;
      work();
    });
  }
}

async function make({ canvas, file, isWanted, ondone, onfail }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (isWanted()) onfail();
    return;
  }
  if (isWanted()) {
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    ondone(bitmap.width, bitmap.height);
  }
  bitmap.close();
}

// Gives the pixels back at once rather than at the next collection.
export function release(canvas) {
  canvas.width = 0;
  canvas.height = 0;
}

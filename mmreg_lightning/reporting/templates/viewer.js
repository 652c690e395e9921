"use strict";
// Shared by the pages: data, planes and crosshair. The script of a page declares draw(), which paints everything anew.
//
// A scene is { shape, spacing, center, direction, volumes, at }: one or more volumes about a common centre, and the
// position `at` where its planes cross. Positions are mm from that centre along the axes I, J, K.
const $ = (id) => document.getElementById(id);
const page = JSON.parse($("data").textContent);
const AXES = [0, 1, 2];
const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128],
  [94, 201, 98], [173, 220, 48], [253, 231, 37]];

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const values = new { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array }[packed.type](buffer);
  for (let n = 1; n < values.length; n++) values[n] += values[n - 1]; // stored as differences
  const shape = packed.shape.slice(-3);
  const strides = [shape[1] * shape[2], shape[2], 1];
  return { values, shape, strides, count: shape[0] * strides[0], spacing: packed.spacing, step: packed.step,
    channels: packed.shape.length === 4 ? packed.shape[0] : 1 };
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
// The voxel of a volume nearest to a position, and the position of a voxel, along one axis.
const voxel = (volume, at, axis) =>
  clamp(Math.round(at[axis] / volume.spacing[axis] + (volume.shape[axis] - 1) / 2), 0, volume.shape[axis] - 1);
const place = (volume, index, axis) => (index - (volume.shape[axis] - 1) / 2) * volume.spacing[axis];
// The index into a volume's values of the voxel nearest to a position.
const offset = (volume, at) => AXES.reduce((sum, axis) => sum + voxel(volume, at, axis) * volume.strides[axis], 0);

// A vector along I, J, K in the patient's frame, RAS.
const turn = (scene, vector) => scene.direction.map((row) => row.reduce((sum, x, axis) => sum + x * vector[axis], 0));
const world = (scene, at) => turn(scene, at).map((x, axis) => x + scene.center[axis]);
// Each coordinate by its sign as radiologists write it: R 12.0 is 12 mm to the patient's right.
const directions = (vector) =>
  vector.map((x, axis) => `${["RL", "AP", "SI"][axis][x < 0 ? 1 : 0]} ${Math.abs(x).toFixed(1)}`).join(", ");

// Colours are [red, green, blue, alpha], each 0 to 255.
const grey = (v) => [v, v, v, 255];
const rgb = ({ values, count }, alpha) => (n) => [values[n], values[n + count], values[n + 2 * count], alpha];
function viridis(t, alpha) {
  const x = clamp(t, 0, 1) * (VIRIDIS.length - 1), n = Math.min(Math.floor(x), VIRIDIS.length - 2);
  return [...VIRIDIS[n].map((low, c) => low + (x - n) * (VIRIDIS[n + 1][c] - low)), alpha];
}

// A colour bar: colour(t) for t from 0 to 1.
function drawColours(canvas, colour) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let x = 0; x < canvas.width; x++) {
    const [r, g, b, a] = colour(x / (canvas.width - 1));
    context.fillStyle = `rgba(${r}, ${g}, ${b}, ${a / 255})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// The plane of a volume at the crosshair. paint(index, column, row) gives the colour of a voxel.
// Both horizontal axes rise to the picture's left, vertical ones upward.
function drawVolume(panel, volume, paint, smooth = true) {
  const { context, view, scale, scene } = panel;
  const [columns, rows] = [volume.shape[view.across], volume.shape[view.up]];
  const image = new ImageData(columns, rows);
  const start = voxel(volume, scene.at, view.normal) * volume.strides[view.normal];
  let pixel = 0;
  for (let u = rows - 1; u >= 0; u--) {
    for (let a = columns - 1; a >= 0; a--, pixel += 4) {
      image.data.set(paint(start + a * volume.strides[view.across] + u * volume.strides[view.up], a, u), pixel);
    }
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  canvas.getContext("2d").putImageData(image, 0, 0);
  const width = columns * volume.spacing[view.across] * scale, height = rows * volume.spacing[view.up] * scale;
  Object.assign(context, { imageSmoothingEnabled: smooth, imageSmoothingQuality: "high" });
  context.drawImage(canvas, (context.canvas.width - width) / 2, (context.canvas.height - height) / 2, width, height);
}

// Where a position lies on the canvas of a panel.
function onCanvas({ context, view, scale }, at) {
  return [context.canvas.width / 2 - at[view.across] * scale, context.canvas.height / 2 - at[view.up] * scale];
}

function stroke(context, path, colour, width, under, underWidth) {
  for (const [strokeStyle, lineWidth] of [[under, underWidth], [colour, width]]) {
    Object.assign(context, { strokeStyle, lineWidth });
    context.stroke(path);
  }
}

function drawText({ context, ratio }, text, x, y, textAlign, textBaseline) {
  Object.assign(context, { font: `600 ${13 * ratio}px system-ui, "DejaVu Sans", Arial, sans-serif`, textAlign,
    textBaseline, lineJoin: "round", lineWidth: 3 * ratio, strokeStyle: "#000", fillStyle: "#fff" });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

// The largest of 1, 2, 5, 10, ... that is not above a value.
function roundStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return Math.max(...[1, 2, 5].filter((m) => m * power <= value * 1.0001)) * power;
}

function clear({ context }) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

// Letters of direction, a scale in millimetres, and the number of the slice.
function drawFrame(panel) {
  const { context, view, scale, ratio, image, slider } = panel;
  const { width, height } = context.canvas;
  const margin = 6 * ratio;
  drawText(panel, view.left, margin, height / 2, "left", "middle");
  drawText(panel, view.right, width - margin, height / 2, "right", "middle");
  drawText(panel, view.top, width / 2, margin, "center", "top");
  drawText(panel, view.bottom, width / 2, height - margin, "center", "bottom");
  const length = roundStep(width / scale / 4);
  const bar = new Path2D();
  bar.rect(margin, height - margin - 3 * ratio, length * scale, 3 * ratio);
  Object.assign(context, { strokeStyle: "#000", lineWidth: 2 * ratio, fillStyle: "#fff" });
  context.stroke(bar);
  context.fill(bar);
  drawText(panel, `${length} mm`, margin, height - margin - 6 * ratio, "left", "bottom");
  const index = voxel(image, panel.scene.at, view.normal);
  slider.value = index;
  panel.number.textContent = `slice ${index + 1} of ${image.shape[view.normal]}`;
  slider.setAttribute("aria-valuetext", panel.number.textContent);
}

// A plane of a scene with its caption and slider. names are its id, title, and labels of canvas and slider.
// What moves the crosshair calls move(changes, pointed): [axis, mm] of each axis that changes, and whether a place was
// pointed at; the slider and the wheel only change the slice.
function makePanel(scene, image, view, names, move) {
  const figure = Object.assign(document.createElement("figure"), { id: names.id });
  figure.innerHTML = '<figcaption><span></span><output></output></figcaption>' +
    '<canvas tabindex="0" role="application"></canvas><input type="range" min="0" step="1">';
  figure.querySelector("span").textContent = names.title;
  const canvas = figure.querySelector("canvas"), slider = figure.querySelector("input");
  canvas.setAttribute("aria-label", names.canvas);
  slider.setAttribute("aria-label", names.slider);
  slider.max = image.shape[view.normal] - 1;
  const go = (changes, pointed) => move(changes.map(([axis, mm]) =>
    [axis, clamp(mm, place(image, 0, axis), place(image, image.shape[axis] - 1, axis))]), pointed);
  const step = (axis, count, pointed) => go([[axis, scene.at[axis] + count * image.spacing[axis]]], pointed);
  slider.addEventListener("input", () => go([[view.normal, place(image, Number(slider.value), view.normal)]], false));
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const size = (axis) => image.shape[axis] * image.spacing[axis];
    go([[view.across, (0.5 - (event.clientX - box.left) / box.width) * size(view.across)],
      [view.up, (0.5 - (event.clientY - box.top) / box.height) * size(view.up)]], true);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    point(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) point(event);
  });
  let turned = 0;
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // zooms the page
    event.preventDefault();
    // A notch of a wheel is one slice; the small steps of a touch pad add up.
    turned += event.deltaMode === 0 ? clamp(event.deltaY, -50, 50) : 50 * Math.sign(event.deltaY);
    if (Math.abs(turned) < 50) return;
    step(view.normal, -Math.sign(turned), false);
    turned = 0;
  }, { passive: false });
  const keys = { ArrowLeft: [view.across, 1], ArrowRight: [view.across, -1], ArrowUp: [view.up, 1],
    ArrowDown: [view.up, -1], PageUp: [view.normal, 1], PageDown: [view.normal, -1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    step(...keys[event.key], true);
  });
  return { scene, image, view, figure, slider, number: figure.querySelector("output"),
    context: canvas.getContext("2d") };
}

// Gives a panel its size: scale is in CSS pixels per mm, that of the panel afterwards in pixels of the screen.
function resize(panel, scale) {
  const { image, view, context: { canvas } } = panel;
  const ratio = devicePixelRatio || 1;
  const [w, h] = [view.across, view.up].map((axis) =>
    Math.max(1, Math.round(image.shape[axis] * image.spacing[axis] * scale)));
  Object.assign(canvas.style, { width: `${w}px`, height: `${h}px` });
  Object.assign(canvas, { width: Math.round(w * ratio), height: Math.round(h * ratio) });
  Object.assign(panel, { ratio, scale: canvas.width / (image.shape[view.across] * image.spacing[view.across]) });
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

// Unpacks the volumes of the scenes, then calls start(). What goes wrong is said in place of the pictures.
async function run(scenes, start) {
  $("status").hidden = false;
  if (!("DecompressionStream" in window)) {
    $("status").textContent =
      "This browser is too old for the pictures: Chrome 80, Firefox 113 or Safari 16.4 and later can show them.";
    return;
  }
  try {
    for (const scene of scenes) {
      const unpacked = Object.entries(scene.volumes).map(async ([name, packed]) => [name, await unpack(packed)]);
      scene.volumes = Object.fromEntries(await Promise.all(unpacked));
      scene.at = [...scene.focus];
    }
    $("controls").reset(); // some browsers keep what was chosen when the page is loaded again
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("controls").hidden = false;
    $("status").hidden = true;
    start();
  } catch (error) {
    $("status").hidden = false;
    $("status").textContent = `The pictures cannot be shown: ${error}`;
    console.error(error);
  }
}

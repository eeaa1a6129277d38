// Files on their way out, and how they are described.

/** Bytes of one file: the chat lives in memory, and is saved whole. */
export const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** Arguments of one call are limited, so bytes become text in pieces. */
const PIECE = 0x8000;

/** A file as the simulator takes it: its bytes in base64. */
export async function readFile(file) {
  if (file.size > FILE_BYTES_MAX) throw new Error(`${file.name} has ${size(file.size)}; files may have ${size(FILE_BYTES_MAX)} here`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += PIECE) binary += String.fromCharCode(...bytes.subarray(at, at + PIECE));
  return { name: file.name, content_type: file.type || "application/octet-stream", data: btoa(binary) };
}

export function size(bytes) {
  const units = ["bytes", "KB", "MB"];
  const step = bytes < 1024 ? 0 : bytes < 1024 ** 2 ? 1 : 2;
  const shown = bytes / 1024 ** step;
  return `${step ? shown.toFixed(1) : shown} ${units[step]}`;
}

const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp" };

/** The kind of a picture, by its name. */
export function guess(name) {
  return PICTURES[name.split(".").pop().toLowerCase()] ?? "";
}

/** The values of a NumPy file of little-endian float32, whatever their shape. It throws where the file is none. */
export function parseFloats(file: ArrayBuffer): Float32Array<ArrayBuffer> {
  const bytes = new Uint8Array(file);
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]; // version 1.0
  if (bytes.length < 10 || magic.some((b, i) => bytes[i] !== b)) throw new Error("not a NumPy file of version 1.0");
  const end = 10 + new DataView(file).getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(10, end));
  if (!header.includes("'descr': '<f4'") || !header.includes("'fortran_order': False")) throw new Error(`not little-endian float32 in C order: ${header.trim()}`);
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1]?.split(",").filter((n) => n.trim()).map(Number) ?? [];
  const length = shape.reduce((a, b) => a * b, 1);
  if (bytes.length !== end + 4 * length) throw new Error(`${bytes.length - end} bytes of values, the shape [${shape.join(" ")}] has ${4 * length}`);
  return new Float32Array(file.slice(end));
}

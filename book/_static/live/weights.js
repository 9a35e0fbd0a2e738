// The pretrained weights: the very file of the package, model.safetensors, in 16 bits.

const HEADER = 8; // bytes that say how long the description of the tensors is

/** base64 → bytes. */
function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The tensors of a safetensors file in bfloat16: name → {shape, values}. */
function tensorsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(HEADER, HEADER + length)));
  delete header.__metadata__;
  return new Map(Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    if (dtype !== "BF16") throw new Error(`${name} is stored as ${dtype}, and this page reads BF16.`);
    const start = HEADER + length + from, values = new Float32Array((to - from) / 2);
    const bits = new Uint32Array(values.buffer);
    // bfloat16 is the upper half of a float
    for (let i = 0; i < bits.length; i++) bits[i] = view.getUint16(start + 2 * i, true) << 16;
    return [name, { shape, values }];
  }));
}

// TensorFlow.js with its kernels in WebAssembly.

/** Start them from the file in base64: a page that was opened as a file can fetch nothing else. */
async function startKernels(kernels) {
  const address = `data:application/wasm;base64,${kernels}`;
  if (!(await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT"))) {
    throw new Error("This browser has no SIMD for WebAssembly. Any of 2023 or later has it.");
  }
  // one thread: more would need headers that a plain server of files does not send
  tf.wasm.setThreadsCount(1);
  const names = ["", "-simd", "-threaded-simd"].map(kind => `tfjs-backend-wasm${kind}.wasm`);
  // `true`: by fetch, as the library's other way takes no address of data
  tf.wasm.setWasmPaths(Object.fromEntries(names.map(name => [name, address])), true);
  if (!(await tf.setBackend("wasm"))) throw new Error("The kernels could not be started.");
}

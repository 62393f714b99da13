/* Does nothing, and exits 0: what a job costs besides its program.
 *
 * Built to noop.wasm, which is kept beside this file:
 *
 *   clang --target=wasm32-wasi -O2 -nostdlib -Wl,-s -o noop.wasm noop.c
 */
void _start(void) {}

;; SPDX-License-Identifier: MIT OR Apache-2.0
;; A library with constructors, a buffer of its own and an nfw_init, which logs.
(module
  (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $port (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $port (i32.const 23)))
  (func (export "nfw_buf") (param i32) (result i32)
    (i32.mul (memory.grow (i32.const 2)) (i32.const 65536)))
  (func (export "nfw_init") (result i32)
    (drop (call $write (i32.const 0) (i32.const 5)))
    (i32.ne (global.get $port) (i32.const 23)))
  (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1))
  (data (i32.const 0) "ready"))

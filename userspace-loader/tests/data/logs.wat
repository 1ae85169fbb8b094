;; SPDX-License-Identifier: MIT OR Apache-2.0
(module
  (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
  (import "nfw.mark" "get" (func $mark (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello")
  (func (export "nfw_init") (result i32) (i32.const 0))
  (func (export "nfw_filter") (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
    (drop (call $write (i32.const 0) (i32.const 5)))
    (call $mark)))

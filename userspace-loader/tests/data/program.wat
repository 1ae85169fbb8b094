;; SPDX-License-Identifier: MIT OR Apache-2.0
;; What wasm-ld makes of a filter with constructors that nobody else runs.
(module
  (global $port (mut i32) (i32.const 0))
  (func $ctors (global.set $port (i32.const 23)))
  (func $filter (param i32 i32 i32) (result i32) (global.get $port))
  (func (export "nfw_filter") (param i32 i32 i32) (result i32)
    (call $ctors)
    (call $filter (local.get 0) (local.get 1) (local.get 2))))

;; SPDX-License-Identifier: MIT OR Apache-2.0
;; Accepts every packet. It has no memory, so nothing is copied for it.
(module
  (func (export "nfw_filter") (param i32 i32 i32) (result i32)
    (i32.const 1)))

;; SPDX-License-Identifier: MIT OR Apache-2.0
;; Drops telnet: TCP to port 23. See README.md for the corner cases.
(module
  ;; No page of its own and no nfw_buf: the host appends the page that its buffer needs.
  (memory (export "memory") 0)
  (@custom "nfw.manifest" "{\"snaplen\": 64}")

  (func (export "nfw_filter") (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
    (local $transport i32)
    (local.set $transport (i32.load offset=24 (local.get $ctx)))

    ;; No transport header. Why, says the protocol: there is none (-1), or it is in another fragment
    ;; (-2): accept. It is not to be found: drop.
    (if (i32.eq (local.get $transport) (i32.const -1))
      (then (return (i32.ge_u (i32.load offset=28 (local.get $ctx)) (i32.const -2)))))
    ;; Not TCP's: accept.
    (if (i32.ne (i32.load offset=28 (local.get $ctx)) (i32.const 6))
      (then (return (i32.const 1))))

    ;; A port that cannot be seen: drop. In 64 bits, so that the sum cannot wrap.
    (if (i64.gt_u
          (i64.add (i64.extend_i32_u (local.get $transport)) (i64.const 4))
          (i64.extend_i32_u (local.get $len)))
      (then (return (i32.const 0))))

    ;; Port 23 is 00 17 on the wire, 0x1700 when loaded little-endian.
    (i32.ne
      (i32.load16_u offset=2 (i32.add (local.get $pkt) (local.get $transport)))
      (i32.const 0x1700))))

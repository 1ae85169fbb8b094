// SPDX-License-Identifier: GPL-2.0-only
//! Every operator and host function in its own loop, to measure the cost of a unit of fuel.
//!
//! `nf-wasm-hostile ops` runs the measurements. A new operator is one line in one of the tables.

use Type::{I32, I64};

/// A type of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `i32`
    I32,
    /// `i64`
    I64,
}

impl Type {
    /// The type's name, and an ordinary value: neither small nor special.
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            I32 => ("i32", "0x1b2c3d4e"),
            I64 => ("i64", "0x1b2c3d4e5f607182"),
        }
    }
}

/// Operators with two operands of the type in their name, and the type of the result.
const BINARY: &[(&str, Type)] = &[
    ("i32.add", I32),
    ("i32.sub", I32),
    ("i32.mul", I32),
    ("i32.div_s", I32),
    ("i32.div_u", I32),
    ("i32.rem_s", I32),
    ("i32.rem_u", I32),
    ("i32.and", I32),
    ("i32.or", I32),
    ("i32.xor", I32),
    ("i32.shl", I32),
    ("i32.shr_s", I32),
    ("i32.shr_u", I32),
    ("i32.rotl", I32),
    ("i32.rotr", I32),
    ("i32.eq", I32),
    ("i32.ne", I32),
    ("i32.lt_s", I32),
    ("i32.lt_u", I32),
    ("i32.gt_s", I32),
    ("i32.gt_u", I32),
    ("i32.le_s", I32),
    ("i32.le_u", I32),
    ("i32.ge_s", I32),
    ("i32.ge_u", I32),
    ("i64.add", I64),
    ("i64.sub", I64),
    ("i64.mul", I64),
    ("i64.div_s", I64),
    ("i64.div_u", I64),
    ("i64.rem_s", I64),
    ("i64.rem_u", I64),
    ("i64.and", I64),
    ("i64.or", I64),
    ("i64.xor", I64),
    ("i64.shl", I64),
    ("i64.shr_s", I64),
    ("i64.shr_u", I64),
    ("i64.rotl", I64),
    ("i64.rotr", I64),
    ("i64.eq", I32),
    ("i64.ne", I32),
    ("i64.lt_s", I32),
    ("i64.lt_u", I32),
    ("i64.gt_s", I32),
    ("i64.gt_u", I32),
    ("i64.le_s", I32),
    ("i64.le_u", I32),
    ("i64.ge_s", I32),
    ("i64.ge_u", I32),
];

/// Operations on one operand: name, the operand's type, the result's type.
const UNARY: &[(&str, Type, Type)] = &[
    ("i32.clz", I32, I32),
    ("i32.ctz", I32, I32),
    ("i32.popcnt", I32, I32),
    ("i32.eqz", I32, I32),
    ("i32.extend8_s", I32, I32),
    ("i32.extend16_s", I32, I32),
    ("i32.wrap_i64", I64, I32),
    ("i64.clz", I64, I64),
    ("i64.ctz", I64, I64),
    ("i64.popcnt", I64, I64),
    ("i64.eqz", I64, I32),
    ("i64.extend8_s", I64, I64),
    ("i64.extend16_s", I64, I64),
    ("i64.extend32_s", I64, I64),
    ("i64.extend_i32_s", I32, I64),
    ("i64.extend_i32_u", I32, I64),
];

/// Loads and stores of the type in their name.
const ACCESSES: &[(&str, Type)] = &[
    ("i32.load", I32),
    ("i32.load8_s", I32),
    ("i32.load8_u", I32),
    ("i32.load16_s", I32),
    ("i32.load16_u", I32),
    ("i64.load", I64),
    ("i64.load8_s", I64),
    ("i64.load8_u", I64),
    ("i64.load16_s", I64),
    ("i64.load16_u", I64),
    ("i64.load32_s", I64),
    ("i64.load32_u", I64),
    ("i32.store", I32),
    ("i32.store8", I32),
    ("i32.store16", I32),
    ("i64.store", I64),
    ("i64.store8", I64),
    ("i64.store16", I64),
    ("i64.store32", I64),
];

/// Statements that leave the stack unchanged. They use the declarations of [`module`].
const STATEMENTS: &[(&str, &str)] = &[
    ("select", "(local.set $r (select (local.get $x) (local.get $y) (local.get $z)))"),
    ("local.set, const", "(local.set $r (i32.const 0x12345678))"),
    ("local.set, i64 const", "(local.set $l (i64.const 0x123456789abcdef0))"),
    ("global.get", "(local.set $r (global.get $g))"),
    ("global.set", "(global.set $g (local.get $x))"),
    ("memory.size", "(local.set $r (memory.size))"),
    ("memory.grow", "(local.set $r (memory.grow (local.get $one)))"),
    ("memory.grow, far too much", "(local.set $r (memory.grow (i32.const -1)))"),
    ("memory.grow, nothing", "(local.set $r (memory.grow (local.get $zero)))"),
    ("memory.fill, 0 bytes", "(memory.fill (local.get $zero) (local.get $x) (local.get $zero))"),
    ("memory.fill, 63 bytes", "(memory.fill (i32.const 1) (local.get $x) (i32.const 63))"),
    ("memory.fill, 64 KiB", "(memory.fill (local.get $zero) (local.get $x) (i32.const 65536))"),
    ("memory.copy, 0 bytes", "(memory.copy (local.get $zero) (i32.const 99) (local.get $zero))"),
    ("memory.copy, 63 bytes", "(memory.copy (i32.const 1) (i32.const 999) (i32.const 63))"),
    ("memory.copy, 64 KiB", "(memory.copy (i32.const 3) (i32.const 65535) (i32.const 65536))"),
    ("memory.copy, upwards 63 bytes", "(memory.copy (i32.const 9) (local.get $zero) (i32.const 63))"),
    ("memory.copy, upwards 64 KiB", "(memory.copy (i32.const 9) (local.get $zero) (i32.const 65536))"),
    ("memory.init, 0 bytes", "(memory.init $d (local.get $zero) (local.get $zero) (local.get $zero))"),
    ("memory.init, 63 bytes", "(memory.init $d (i32.const 3) (i32.const 1) (i32.const 63))"),
    ("memory.init, 4 KiB", "(memory.init $d (i32.const 3) (local.get $zero) (i32.const 4096))"),
    ("data.drop", "(data.drop $gone)"),
    ("table.size", "(local.set $r (table.size))"),
    ("table.get", "(local.set $f (table.get (local.get $zero)))"),
    ("table.set", "(table.set (local.get $one) (local.get $f))"),
    ("table.grow", "(local.set $r (table.grow (local.get $f) (local.get $one)))"),
    ("table.grow, nothing", "(local.set $r (table.grow (local.get $f) (local.get $zero)))"),
    ("table.fill, 0", "(table.fill (local.get $zero) (local.get $f) (local.get $zero))"),
    ("table.fill, 7", "(table.fill (i32.const 2000) (local.get $f) (i32.const 7))"),
    ("table.fill, 2000", "(table.fill (i32.const 2000) (local.get $f) (i32.const 2000))"),
    ("table.copy, 0", "(table.copy (local.get $zero) (local.get $one) (local.get $zero))"),
    ("table.copy, 7", "(table.copy (i32.const 2000) (i32.const 3000) (i32.const 7))"),
    ("table.copy, 2000", "(table.copy (i32.const 2000) (i32.const 1) (i32.const 2000))"),
    ("table.init, 0", "(table.init $e (local.get $zero) (local.get $one) (local.get $zero))"),
    ("table.init, 7", "(table.init $e (i32.const 2000) (local.get $one) (i32.const 7))"),
    ("table.init, 64", "(table.init $e (i32.const 2000) (local.get $zero) (i32.const 64))"),
    ("elem.drop", "(elem.drop $gone)"),
    ("ref.func", "(local.set $f (ref.func $empty))"),
    ("ref.is_null", "(local.set $r (ref.is_null (local.get $f)))"),
    ("block", "(block (nop))"),
    ("br_if, not taken", "(br_if $out (local.get $zero))"),
    ("br_if, taken", "(block (br_if 0 (local.get $one)))"),
    ("if", "(if (local.get $one) (then (local.set $r (local.get $x))))"),
    ("if else", "(if (local.get $zero) (then (local.set $r (local.get $x))) (else (local.set $r (local.get $y))))"),
    ("loop", "(loop (local.set $r (local.get $x)))"),
    ("br_table, 4", "(block (block (block (block (br_table 0 1 2 3 (local.get $one))))))"),
    ("br_table, 256, the last", "(block (block (br_table {targets} 0 1 (local.get $x))))"),
    ("br_table with 4 values", "(block (result i32 i32 i32 i32) (block (result i32 i32 i32 i32) (local.get $x) (local.get $y) (local.get $x) (local.get $y) (br_table 0 1 0 (local.get $one)))) (drop) (drop) (drop) (drop)"),
    ("br_table with 16 values", "(block (result {sixteen}) (block (result {sixteen}) {operands} (br_table 0 1 0 (local.get $one)))) {drops}"),
    ("br with 7 values", "(block (result {seven}) {operands} (br 0)) {seven_drops}"),
    ("br with 16 values", "(block (result {sixteen}) {operands} (br 0)) {drops}"),
    ("br_if with 16 values", "(block (result {sixteen}) (i32.const 7) {operands} (br_if 0 (local.get $one)) (br 0)) {drops}"),
    ("block with 16 parameters", "{operands} (block (param {sixteen}) {drops})"),
    ("loop with 16 parameters", "{operands} (loop (param {sixteen}) {drops})"),
    ("locals kept from being overwritten", "{operands} (local.set $x (local.get $y)) (local.set $y (local.get $x)) {drops}"),
    ("call", "(call $empty)"),
    ("call, 3 parameters", "(local.set $r (call $three (local.get $x) (local.get $y) (local.get $x)))"),
    ("call, 7 parameters", "(call $seven (local.get $x) (local.get $y) (local.get $x) (local.get $y) (local.get $x) (local.get $y) (local.get $x))"),
    ("call, 32 parameters", "{operands} {operands} (call $params)"),
    ("call, 16 results", "(call $results) {drops}"),
    ("call, 1,000 locals", "(call $locals)"),
    ("call, 7,000 slots", "(call $slots (local.get $zero))"),
    ("call_indirect", "(call_indirect (type $nothing) (local.get $zero))"),
    ("call_indirect, 32 parameters", "{operands} {operands} (call_indirect (type $params) (i32.const 1))"),
    ("call_indirect, imported", "(drop (call_indirect (type $number) (i32.const 2)))"),
    ("nested calls, 250 deep", "(call $nested (i32.const 250))"),
    ("nested calls of 30 slots, 200 deep", "(call $wide (i32.const 200))"),
    ("nfw.packet len", "(local.set $r (call $len))"),
    ("nfw.packet load, 0 bytes", "(local.set $r (call $load (local.get $zero) (local.get $zero) (local.get $zero)))"),
    ("nfw.packet load, 63 bytes", "(local.set $r (call $load (local.get $zero) (local.get $zero) (i32.const 63)))"),
    ("nfw.packet load, all", "(local.set $r (call $load (local.get $zero) (local.get $zero) (call $len)))"),
    ("nfw.packet load, the last byte", "(local.set $r (call $load (local.get $last) (local.get $zero) (local.get $one)))"),
    ("nfw.packet load, EFAULT", "(local.set $r (call $load (local.get $x) (local.get $zero) (i32.const 4)))"),
    ("nfw.packet load, EFAULT 128 KiB", "(local.set $r (call $load (local.get $x) (local.get $zero) (i32.const 131072)))"),
    ("nfw.log write, 0 bytes", "(local.set $r (call $write (local.get $zero) (local.get $zero)))"),
    ("nfw.log write, 63 bytes", "(local.set $r (call $write (local.get $zero) (i32.const 63)))"),
    ("nfw.log write, 256 bytes", "(local.set $r (call $write (local.get $zero) (i32.const 256)))"),
    ("nfw.log write, 128 KiB", "(local.set $r (call $write (local.get $zero) (i32.const 131072)))"),
    ("nfw.clock monotonic", "(local.set $l (call $monotonic))"),
    ("nfw.clock realtime", "(local.set $l (call $realtime))"),
    ("nfw.mark get", "(local.set $r (call $get))"),
    ("nfw.mark set", "(local.set $r (call $set (local.get $x)))"),
];

/// How often a loop repeats the operation: the loop's own cost becomes negligible.
const REPEATED: usize = 16;

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// What the operation is.
    pub name: String,
    /// Further locals of the function, with their initial values.
    locals: Vec<(&'static str, Type)>,
    /// The statement.
    statement: String,
}

/// All operations.
pub fn all() -> Vec<Op> {
    let mut all = Vec::new();
    let of = |name: &str| {
        if name.starts_with("i64") {
            I64
        } else {
            I32
        }
    };
    for &(name, result) in BINARY {
        all.push(Op {
            name: name.to_owned(),
            locals: vec![("a", of(name)), ("b", of(name)), ("c", result)],
            statement: format!("(local.set $c ({name} (local.get $a) (local.get $b)))"),
        });
    }
    for &(name, operand, result) in UNARY {
        all.push(Op {
            name: name.to_owned(),
            locals: vec![("a", operand), ("c", result)],
            statement: format!("(local.set $c ({name} (local.get $a)))"),
        });
    }
    for &(name, ty) in ACCESSES {
        let statement = if name.contains("load") {
            format!("(local.set $c ({name} offset=8 (local.get $one)))")
        } else {
            format!("({name} offset=8 (local.get $one) (local.get $c))")
        };
        all.push(Op {
            name: name.to_owned(),
            locals: vec![("c", ty)],
            statement,
        });
    }
    let sixteen = "i32 ".repeat(16);
    let seven = "i32 ".repeat(7);
    let seven_drops = "drop ".repeat(7);
    let operands = "(local.get $x) (local.get $y) ".repeat(8);
    let drops = "drop ".repeat(16);
    let targets = "0 ".repeat(254);
    for &(name, statement) in STATEMENTS {
        all.push(Op {
            name: name.to_owned(),
            locals: Vec::new(),
            statement: statement
                .replace("{sixteen}", &sixteen)
                .replace("{seven}", &seven)
                .replace("{seven_drops}", &seven_drops)
                .replace("{operands}", &operands)
                .replace("{drops}", &drops)
                .replace("{targets}", &targets),
        });
    }
    all
}

impl Op {
    /// A filter that repeats the operation until its fuel is used up.
    pub fn module(&self) -> Vec<u8> {
        self.in_loop(&self.statement.repeat(REPEATED), "(br $again)")
    }

    /// A filter that runs the operation `times` times and accepts.
    pub fn times(&self, times: usize) -> Vec<u8> {
        self.in_loop(&self.statement.repeat(times), "(return (i32.const 1))")
    }

    fn in_loop(&self, statements: &str, then: &str) -> Vec<u8> {
        let mut locals = String::new();
        let mut values = String::new();
        for (name, ty) in &self.locals {
            let (ty, value) = ty.parts();
            locals += &format!("(local ${name} {ty})");
            values += &format!("(local.set ${name} ({ty}.const {value}))");
        }
        module(&locals, &values, &format!("{statements} {then}"))
    }
}

fn module(locals: &str, values: &str, body: &str) -> Vec<u8> {
    let i32s = |n: usize| "i32 ".repeat(n);
    let text = format!(
        r#"(module
  (import "nfw.packet" "len" (func $len (result i32)))
  (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
  (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
  (import "nfw.clock" "monotonic" (func $monotonic (result i64)))
  (import "nfw.clock" "realtime" (func $realtime (result i64)))
  (import "nfw.mark" "get" (func $get (result i32)))
  (import "nfw.mark" "set" (func $set (param i32) (result i32)))
  (type $nothing (func))
  (type $number (func (result i32)))
  (type $params (func (param {thirty_two})))
  (memory (export "memory") 3)
  (table 4096 funcref)
  (elem (i32.const 0) $empty $params $get)
  (elem $e func {elements})
  (elem $gone func $empty)
  (data $d "{data}")
  (data $gone "gone")
  (global $g (mut i32) (i32.const 7))
  (func $empty (type $nothing))
  (func $three (param i32 i32 i32) (result i32) (local.get 0))
  (func $seven (param i32 i32 i32 i32 i32 i32 i32))
  (func $params (type $params))
  (func $results (result {sixteen}) {numbers})
  (func $locals (local {thousand}))
  (func $slots (param i32) (if (local.get 0) (then {slots} {slot_drops})))
  (func $nested (param i32)
    (if (local.get 0) (then (call $nested (i32.sub (local.get 0) (i32.const 1))))))
  (func $wide (param i32) (local {thirty})
    (if (local.get 0) (then (call $wide (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "nfw_filter") (param $ctx i32) (param $pkt i32) (param $packet_len i32) (result i32)
    (local $x i32) (local $y i32) (local $z i32) (local $r i32) (local $l i64)
    (local $zero i32) (local $one i32) (local $last i32) (local $f funcref) {locals}
    (local.set $x (i32.const 0x7fffffff)) (local.set $one (i32.const 1))
    (local.set $last (i32.sub (call $len) (i32.const 1))) {values}
    (block $out (loop $again {body}))
    (unreachable)))"#,
        thirty_two = i32s(32),
        sixteen = i32s(16),
        thirty = i32s(30),
        thousand = i32s(1000),
        elements = "$empty ".repeat(64),
        data = "0123456789abcdef".repeat(256),
        numbers = "(i32.const 3) ".repeat(16),
        slots = "local.get 0 ".repeat(7000),
        slot_drops = "drop ".repeat(7000),
    );
    match wat::parse_str(&text) {
        Ok(wasm) => wasm,
        Err(error) => panic!("{error}\nin: {text}"),
    }
}

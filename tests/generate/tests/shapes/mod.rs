// SPDX-License-Identifier: GPL-2.0-only
//! Finds out which shapes a Wasm binary has.

use std::collections::BTreeMap;

use wasmparser::{
    BlockType, ElementItems, ElementKind, FrameKind, FuncToValidate, FuncType, FuncValidator,
    FunctionBody, Operator, Payload, Result, ValidPayload, Validator, ValidatorResources,
    WasmModuleResources,
};

/// Offsets around the largest that an eBPF load or store can encode.
const AT_REACH: std::ops::RangeInclusive<u64> = 0x7ff8..=0x8008;

/// How many modules have each shape.
pub type Counts = BTreeMap<&'static str, u64>;

/// The shapes that each generator of [`nf_wasm_generate::arithmetic`] has to make.
pub const EVERYWHERE: [&str; 27] = [
    "a loop with parameters",
    "a loop with results",
    "a loop that branches back with values",
    "a loop whose end falls through",
    "a loop whose end cannot be reached",
    "values below a loop",
    "br out of a block",
    "br to a loop that is not the innermost frame",
    "br with values",
    "br that leaves values behind",
    "br_if with values",
    "br_table with values",
    "br_table of more than 6",
    "br_table of more than 40",
    "return within a frame",
    "code that cannot be reached",
    "a frame that cannot be reached",
    "a value of code that cannot be reached",
    "more than 9 locals",
    "more than 100 locals",
    "more than 64 values on the stack",
    "a memory of 1 page",
    "a memory of more than 2 pages",
    "a memory of 64 pages",
    "an offset between 300 and 32,760",
    "an offset at 32,768",
    "an offset beyond 65,535",
];

/// The shapes that only modules which also write can have.
pub const OTHERS: [&str; 13] = [
    "a memory of 0 pages",
    "a function of more than 3 parameters",
    "a function of 32 parameters",
    "a function of more than 2 results",
    "a function of more than 10 results",
    "the root has no result",
    "the root has several results",
    "the root is called",
    "the root is in the table",
    "a bulk operation on more than 200 bytes",
    "a bulk operation on more than 32 KiB",
    "a bulk operation on a computed number of bytes",
    "a body of more than 16 KiB",
];

/// The facts about a module that are known before its code.
#[derive(Default)]
struct Header {
    types: Vec<FuncType>,
    functions: Vec<u32>,
}

/// Adds 1 to the count of each shape that the module has.
pub fn count(wasm: &[u8], counts: &mut Counts) {
    let mut seen = Counts::new();
    look(wasm, &mut seen).expect("a valid module");
    for shape in seen.into_keys() {
        *counts.entry(shape).or_default() += 1;
    }
}

fn look(wasm: &[u8], seen: &mut Counts) -> Result<()> {
    let mut header = Header::default();
    let mut validator = Validator::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            look_at_body(function, &body, seen)?;
        }
        match payload {
            Payload::TypeSection(types) => {
                header.types = types.into_iter_err_on_gc_types().collect::<Result<_>>()?;
            }
            Payload::FunctionSection(functions) => {
                header.functions = functions.into_iter().collect::<Result<_>>()?;
                for (index, ty) in header.functions.iter().enumerate() {
                    look_at_type(index, &header.types[*ty as usize], seen);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let name = match memory?.initial {
                        0 => "a memory of 0 pages",
                        1 => "a memory of 1 page",
                        64 => "a memory of 64 pages",
                        3.. => "a memory of more than 2 pages",
                        _ => continue,
                    };
                    seen.insert(name, 1);
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements {
                    let element = element?;
                    if let (ElementKind::Active { .. }, ElementItems::Functions(functions)) =
                        (element.kind, element.items)
                    {
                        for function in functions {
                            note(seen, function? == 0, "the root is in the table");
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn note(seen: &mut Counts, is_so: bool, shape: &'static str) {
    if is_so {
        seen.insert(shape, 1);
    }
}

fn look_at_type(index: usize, ty: &FuncType, seen: &mut Counts) {
    let (params, results) = (ty.params().len(), ty.results().len());
    note(seen, params > 3, "a function of more than 3 parameters");
    note(seen, params == 32, "a function of 32 parameters");
    note(seen, results > 2, "a function of more than 2 results");
    note(seen, results > 10, "a function of more than 10 results");
    if index == 0 {
        note(seen, results == 0, "the root has no result");
        note(seen, results > 1, "the root has several results");
    }
}

/// The number of a frame's parameters and results.
fn arity(resources: &ValidatorResources, ty: BlockType) -> (usize, usize) {
    match ty {
        BlockType::Empty => (0, 0),
        BlockType::Type(_) => (0, 1),
        BlockType::FuncType(index) => {
            let ty = resources.sub_type_at(index).expect("a type").unwrap_func();
            (ty.params().len(), ty.results().len())
        }
    }
}

/// How many values a branch to the frame at `depth` takes along, and whether the frame is a loop.
fn taken(validator: &FuncValidator<ValidatorResources>, depth: u32) -> (usize, bool) {
    let frame = validator
        .get_control_frame(depth as usize)
        .expect("a frame");
    let (params, results) = arity(validator.resources(), frame.block_type);
    match frame.kind {
        FrameKind::Loop => (params, true),
        _ => (results, false),
    }
}

fn look_at_body(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    seen: &mut Counts,
) -> Result<()> {
    let mut validator = function.into_validator(wasmparser::FuncValidatorAllocations::default());
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let locals = validator.len_locals();
    note(seen, locals > 9, "more than 9 locals");
    note(seen, locals > 100, "more than 100 locals");
    let range = body.range();
    note(
        seen,
        range.end - range.start > 1 << 14,
        "a body of more than 16 KiB",
    );
    let mut constant = None;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        look_at(&operator, constant, &validator, seen);
        constant = match operator {
            Operator::I32Const { value } => Some(value as u32),
            _ => None,
        };
        validator.op(offset, &operator)?;
    }
    Ok(())
}

/// Looks at an operator. `constant` is the value of a constant operator just before it.
fn look_at(
    operator: &Operator<'_>,
    constant: Option<u32>,
    validator: &FuncValidator<ValidatorResources>,
    seen: &mut Counts,
) {
    let frame = validator.get_control_frame(0).expect("a frame");
    let height = validator.operand_stack_height() as usize;
    let in_frame = height - frame.height;
    note(seen, height > 64, "more than 64 values on the stack");
    if frame.unreachable {
        match operator {
            Operator::End if frame.kind == FrameKind::Loop => {
                seen.insert("a loop whose end cannot be reached", 1);
            }
            Operator::End | Operator::Else => {}
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                seen.insert("a frame that cannot be reached", 1);
            }
            Operator::I32Add | Operator::I64Mul if in_frame < 2 => {
                seen.insert("a value of code that cannot be reached", 1);
            }
            _ => {
                seen.insert("code that cannot be reached", 1);
            }
        }
        return;
    }
    let taken = |depth| taken(validator, depth);
    match operator {
        Operator::Loop { blockty } => {
            let (params, results) = arity(validator.resources(), *blockty);
            note(seen, params > 0, "a loop with parameters");
            note(seen, results > 0, "a loop with results");
            note(seen, in_frame > params, "values below a loop");
        }
        Operator::End if frame.kind == FrameKind::Loop => {
            seen.insert("a loop whose end falls through", 1);
        }
        Operator::Br { relative_depth } => {
            let (values, is_loop) = taken(*relative_depth);
            note(seen, !is_loop, "br out of a block");
            note(
                seen,
                is_loop && *relative_depth > 0,
                "br to a loop that is not the innermost frame",
            );
            note(seen, values > 0, "br with values");
            note(seen, in_frame > values, "br that leaves values behind");
            note(
                seen,
                is_loop && values > 0,
                "a loop that branches back with values",
            );
        }
        Operator::BrIf { relative_depth } => {
            let (values, is_loop) = taken(*relative_depth);
            note(seen, values > 0, "br_if with values");
            note(
                seen,
                is_loop && values > 0,
                "a loop that branches back with values",
            );
        }
        Operator::BrTable { targets } => {
            let (values, _) = taken(targets.default());
            note(seen, values > 0, "br_table with values");
            note(seen, targets.len() > 6, "br_table of more than 6");
            note(seen, targets.len() > 40, "br_table of more than 40");
        }
        Operator::Return => {
            let is_inner = validator.control_stack_height() > 1;
            note(seen, is_inner, "return within a frame");
        }
        Operator::Call { function_index } => {
            note(seen, *function_index == 0, "the root is called");
        }
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } => match constant {
            Some(len) => {
                note(seen, len > 200, "a bulk operation on more than 200 bytes");
                note(seen, len > 1 << 15, "a bulk operation on more than 32 KiB");
            }
            None => {
                seen.insert("a bulk operation on a computed number of bytes", 1);
            }
        },
        _ => {}
    }
    if let Some(offset) = offset_of(operator) {
        note(
            seen,
            (301..0x7ff8).contains(&offset),
            "an offset between 300 and 32,760",
        );
        note(seen, AT_REACH.contains(&offset), "an offset at 32,768");
        note(seen, offset > 0xffff, "an offset beyond 65,535");
    }
}

/// The offset of a load or store.
fn offset_of(operator: &Operator<'_>) -> Option<u64> {
    use Operator::{
        I32Load, I32Load16S, I32Load16U, I32Load8S, I32Load8U, I32Store, I32Store16, I32Store8,
        I64Load, I64Load16S, I64Load16U, I64Load32S, I64Load32U, I64Load8S, I64Load8U, I64Store,
        I64Store16, I64Store32, I64Store8,
    };
    match operator {
        I32Load { memarg }
        | I32Load8S { memarg }
        | I32Load8U { memarg }
        | I32Load16S { memarg }
        | I32Load16U { memarg }
        | I64Load { memarg }
        | I64Load8S { memarg }
        | I64Load8U { memarg }
        | I64Load16S { memarg }
        | I64Load16U { memarg }
        | I64Load32S { memarg }
        | I64Load32U { memarg }
        | I32Store { memarg }
        | I32Store8 { memarg }
        | I32Store16 { memarg }
        | I64Store { memarg }
        | I64Store8 { memarg }
        | I64Store16 { memarg }
        | I64Store32 { memarg } => Some(memarg.offset),
        _ => None,
    }
}

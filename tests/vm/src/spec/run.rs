// SPDX-License-Identifier: GPL-2.0-only
//! Runs one file of the suite.

use std::collections::HashMap;

use nf_wasm_shared::abi::trap::Trap;
use nix::errno::Errno;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

use super::{values, Guest, Rejection, Report};
use crate::device::Refused;
use crate::guest_test::Failure;

/// The module that the suite imports from. Its functions would print. Here they do nothing.
const SPECTEST: &str = r#"(module
    (global (export "global_i32") i32 (i32.const 666))
    (global (export "global_i64") i64 (i64.const 666))
    (table (export "table") 10 20 funcref)
    (memory (export "memory") 1 2)
    (func (export "print"))
    (func (export "print_i32") (param i32))
    (func (export "print_i64") (param i64))
    (global (export "global_f32") f32 (f32.const 666.6))
    (global (export "global_f64") f64 (f64.const 666.6))
    (func (export "print_f32") (param f32))
    (func (export "print_f64") (param f64))
    (func (export "print_i32_f32") (param i32 f32))
    (func (export "print_f64_f64") (param f64 f64)))"#;

/// Assertions about operations that exceed a limit. The specification lets `memory.grow` return -1
/// at any time.
const OVER_A_LIMIT: [(&str, &str); 7] = [
    ("wasm-v1/call.wast:294", MEMORY_PAGES),
    ("wasm-v1/call_indirect.wast:574", MEMORY_PAGES),
    ("wasm-v2/call_indirect.wast:603", MEMORY_PAGES),
    ("wasm-v1/memory_grow.wast:45", MEMORY_PAGES),
    ("wasm-v1/memory_grow.wast:48", MEMORY_PAGES),
    ("wasm-v2/memory_grow.wast:45", MEMORY_PAGES),
    ("wasm-v2/memory_grow.wast:48", MEMORY_PAGES),
];
const MEMORY_PAGES: &str = "memory.grow answers -1 where there would be more than 64 pages";

/// Why a directive has no result.
enum Obstacle {
    /// It needs a rejected module: the index of the rejection.
    Rejected(usize),
    /// It fails.
    Failed(String),
}

type Outcome<T> = Result<T, Obstacle>;

/// A module of the file: its instance, or the index of its rejection.
type Slot = Result<u32, usize>;

struct Runner<'t, G> {
    file: &'t str,
    text: &'t str,
    guest: G,
    current: Option<Slot>,
    named: HashMap<String, Slot>,
    /// Import names of rejected modules, with the index of the rejection.
    missing: HashMap<String, usize>,
    report: &'t mut Report,
}

/// Runs a file.
pub(super) fn run<G: Guest>(file: &str, text: &str, guest: G, report: &mut Report) {
    let mut runner = Runner {
        file,
        text,
        guest,
        current: None,
        named: HashMap::new(),
        missing: HashMap::new(),
        report,
    };
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let parsed = ParseBuffer::new_with_lexer(lexer);
    let outcome = parsed.and_then(|buffer| {
        let wast = parser::parse::<Wast<'_>>(&buffer)?;
        runner.provide_spectest();
        for directive in wast.directives {
            runner.directive(directive);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        let failure = format!("{file}: cannot be parsed: {error}");
        runner.report.failures.push(failure);
    }
}

/// A message that is one of the outcomes.
fn failed<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Obstacle::Failed(what.into()))
}

impl<G: Guest> Runner<'_, G> {
    fn provide_spectest(&mut self) {
        let wasm = wat::parse_str(SPECTEST).expect("valid WAT");
        let instance = self.guest.instantiate(&wasm);
        let done = instance.and_then(|instance| self.guest.register(instance, "spectest"));
        if let Err(failure) = done {
            let failure = format!("{}: no spectest: {failure:?}", self.file);
            self.report.failures.push(failure);
        }
    }

    fn directive(&mut self, directive: WastDirective<'_>) {
        let span = directive.span();
        let (kind, outcome) = match directive {
            WastDirective::Module(mut module) => {
                let outcome = self.module(&mut module, span);
                ("module", outcome)
            }
            WastDirective::Register { name, module, .. } => {
                ("register", self.register(module, name))
            }
            WastDirective::Invoke(invoke) => ("invoke", self.invoke(&invoke).map(drop)),
            WastDirective::AssertReturn { exec, results, .. } => {
                ("assert_return", self.assert_return(exec, &results, span))
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                ("assert_trap", self.assert_trap(exec, message, span))
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let call = WastExecute::Invoke(call);
                ("assert_exhaustion", self.assert_trap(call, message, span))
            }
            WastDirective::AssertInvalid { module, .. } => (
                "assert_invalid",
                self.assert_refused(module, span, Errno::ENOEXEC),
            ),
            WastDirective::AssertMalformed {
                module: QuoteWat::QuoteModule(at, source),
                ..
            } => {
                let mut module = QuoteWat::QuoteModule(at, source);
                if module.encode().is_err() {
                    // Only a parser of the text format could pass or fail this. The engine does not
                    // have one.
                    ("assert_malformed (of the text format)", Ok(()))
                } else {
                    (
                        "assert_malformed",
                        self.assert_refused(module, span, Errno::ENOEXEC),
                    )
                }
            }
            WastDirective::AssertMalformed { module, .. } => (
                "assert_malformed",
                self.assert_refused(module, span, Errno::ENOEXEC),
            ),
            WastDirective::AssertUnlinkable { module, .. } => {
                let module = QuoteWat::Wat(module);
                (
                    "assert_unlinkable",
                    self.assert_refused(module, span, Errno::EINVAL),
                )
            }
            _ => ("directive", failed("not known to this program")),
        };
        let is_assertion = kind.starts_with("assert_");
        let outcome = self.over_a_limit(outcome, span);
        match outcome {
            Ok(()) if is_assertion => *self.report.passed.entry(kind).or_default() += 1,
            Ok(()) => {}
            Err(Obstacle::Rejected(rejection)) => {
                self.report.rejections[rejection].assertions += usize::from(is_assertion);
            }
            Err(Obstacle::Failed(what)) => {
                let place = self.place(span);
                self.report.failures.push(format!("{place} {kind}: {what}"));
            }
        }
    }

    /// Turns the failure of an assertion that is over a limit into a rejection.
    fn over_a_limit(&mut self, outcome: Outcome<()>, span: Span) -> Outcome<()> {
        let place = self.place(span);
        let known = OVER_A_LIMIT.iter().find(|(known, _)| *known == place);
        match (outcome, known) {
            (Err(Obstacle::Failed(_)), Some((_, reason))) => {
                Err(Obstacle::Rejected(self.note_rejection(place, *reason)))
            }
            (Ok(()), Some(_)) => failed("it passes, but is listed as over a limit"),
            (outcome, _) => outcome,
        }
    }

    fn note_rejection(&mut self, place: String, reason: impl Into<String>) -> usize {
        self.report.rejections.push(Rejection {
            place,
            reason: reason.into(),
            assertions: 0,
        });
        self.report.rejections.len() - 1
    }

    fn place(&self, span: Span) -> String {
        let (line, _) = span.linecol_in(self.text);
        format!("{}:{}", self.file, line + 1)
    }

    /// Notes that a module was refused because of a limit or an unsupported construct, and returns
    /// the index of the rejection. Returns other refusals unchanged.
    fn reject(&mut self, refused: Refused, span: Span) -> Result<usize, Refused> {
        let absent = self
            .missing
            .iter()
            .find(|(name, _)| refused.text.ends_with(&format!("registered as {name:?}")));
        if let Some((_, rejection)) = absent {
            return Ok(*rejection);
        }
        if !matches!(refused.errno, Errno::EOPNOTSUPP | Errno::EFBIG) {
            return Err(refused);
        }
        Ok(self.note_rejection(self.place(span), refused.to_string()))
    }

    fn instantiate(&mut self, module: &mut QuoteWat<'_>, span: Span) -> Outcome<Result<u32, Trap>> {
        let wasm = match module.encode() {
            Ok(wasm) => wasm,
            Err(error) => return failed(format!("cannot be encoded: {error}")),
        };
        match self.guest.instantiate(&wasm) {
            Ok(instance) => Ok(Ok(instance)),
            Err(Failure::Trapped(trap)) => Ok(Err(trap)),
            Err(Failure::Refused(refused)) => match self.reject(refused, span) {
                Ok(rejection) => Err(Obstacle::Rejected(rejection)),
                Err(refused) => failed(format!("refused: {refused}")),
            },
        }
    }

    fn module(&mut self, module: &mut QuoteWat<'_>, span: Span) -> Outcome<()> {
        let name = module.name();
        let slot = match self.instantiate(module, span) {
            Ok(Ok(instance)) => Ok(instance),
            Ok(Err(trap)) => return failed(format!("trapped: {}", trap.name())),
            Err(Obstacle::Rejected(rejection)) => Err(rejection),
            Err(other) => return Err(other),
        };
        self.current = Some(slot);
        if let Some(name) = name {
            self.named.insert(name.name().to_owned(), slot);
        }
        Ok(())
    }

    /// The instance that a directive names, or the current one.
    fn instance(&self, module: Option<Id<'_>>) -> Outcome<u32> {
        let slot = match module {
            Some(name) => self.named.get(name.name()).copied(),
            None => self.current,
        };
        match slot {
            Some(slot) => slot.map_err(Obstacle::Rejected),
            None => failed("the directive names an unknown module"),
        }
    }

    fn register(&mut self, module: Option<Id<'_>>, name: &str) -> Outcome<()> {
        match self.instance(module) {
            Ok(instance) => match self.guest.register(instance, name) {
                Ok(()) => Ok(()),
                Err(failure) => failed(format!("{failure:?}")),
            },
            Err(Obstacle::Rejected(rejection)) => {
                self.missing.insert(name.to_owned(), rejection);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Outcome<Result<Vec<u64>, Trap>> {
        let instance = self.instance(invoke.module)?;
        let arguments: Option<Vec<u64>> = invoke.args.iter().map(values::argument).collect();
        let Some(arguments) = arguments else {
            return failed("an argument of an unsupported type");
        };
        match self.guest.invoke(instance, invoke.name, &arguments) {
            Ok(results) => Ok(Ok(results)),
            Err(Failure::Trapped(trap)) => Ok(Err(trap)),
            Err(Failure::Refused(refused)) => failed(format!("refused: {refused}")),
        }
    }

    fn execute(&mut self, exec: WastExecute<'_>, span: Span) -> Outcome<Result<Vec<u64>, Trap>> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(module) => self.instantiate_once(module, span),
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                match self.guest.get(instance, global) {
                    Ok(value) => Ok(Ok(vec![value])),
                    Err(failure) => failed(format!("{failure:?}")),
                }
            }
        }
    }

    fn instantiate_once(&mut self, module: Wat<'_>, span: Span) -> Outcome<Result<Vec<u64>, Trap>> {
        let made = self.instantiate(&mut QuoteWat::Wat(module), span)?;
        Ok(made.map(|_| Vec::new()))
    }

    fn assert_return(
        &mut self,
        exec: WastExecute<'_>,
        expected: &[WastRet<'_>],
        span: Span,
    ) -> Outcome<()> {
        match self.execute(exec, span)? {
            Err(trap) => failed(format!("trapped: {}", trap.name())),
            Ok(results) => {
                let all = results.len() == expected.len()
                    && results
                        .iter()
                        .zip(expected)
                        .all(|(it, ret)| values::is(*it, ret));
                if all {
                    return Ok(());
                }
                failed(format!("{results:#x?} in place of {expected:?}"))
            }
        }
    }

    fn assert_trap(&mut self, exec: WastExecute<'_>, message: &str, span: Span) -> Outcome<()> {
        let Some(expected) = trap(message) else {
            return failed(format!("no trap is called {message:?}"));
        };
        match self.execute(exec, span)? {
            Err(trap) if trap == expected => Ok(()),
            Err(trap) => failed(format!("trapped: {}; not: {message}", trap.name())),
            Ok(results) => failed(format!("{results:#x?}, and no trap: {message}")),
        }
    }

    /// The module must be refused with `errno`.
    fn assert_refused(
        &mut self,
        mut module: QuoteWat<'_>,
        span: Span,
        errno: Errno,
    ) -> Outcome<()> {
        let wasm = match module.encode() {
            Ok(wasm) => wasm,
            Err(error) => return failed(format!("cannot be encoded: {error}")),
        };
        match self.guest.instantiate(&wasm) {
            Ok(_) => failed("the module was not refused"),
            Err(Failure::Trapped(trap)) => failed(format!("trapped: {}", trap.name())),
            Err(Failure::Refused(refused)) => match self.reject(refused, span) {
                Ok(rejection) => Err(Obstacle::Rejected(rejection)),
                Err(refused) if refused.errno == errno => Ok(()),
                Err(refused) => failed(format!("refused: {refused}")),
            },
        }
    }
}

/// The trap for the suite's `message`.
fn trap(message: &str) -> Option<Trap> {
    const TRAPS: [(&str, Trap); 11] = [
        ("unreachable", Trap::Unreachable),
        ("integer divide by zero", Trap::IntegerDivisionByZero),
        ("integer overflow", Trap::IntegerOverflow),
        (
            "invalid conversion to integer",
            Trap::BadConversionToInteger,
        ),
        ("out of bounds memory access", Trap::MemoryOutOfBounds),
        ("out of bounds table access", Trap::TableOutOfBounds),
        // The table has no such element.
        ("undefined element", Trap::TableOutOfBounds),
        ("undefined", Trap::TableOutOfBounds),
        // In the suite's messages, the number of the element may follow.
        ("uninitialized", Trap::IndirectCallToNull),
        ("indirect call type mismatch", Trap::BadSignature),
        ("call stack exhausted", Trap::StackOverflow),
    ];
    let found = TRAPS.iter().find(|(words, _)| message.starts_with(words));
    found.map(|(_, trap)| *trap)
}

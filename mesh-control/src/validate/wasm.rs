use std::collections::BTreeSet;

use super::part::Part;
use super::{selector, url};

/// A WasmPlugin.
pub(super) fn check(spec: &Part<'_>) {
    selector::check_policy(spec);
    check_module(spec);
    check_match(spec);
}

/// A TrafficExtension.
pub(super) fn check_extension(spec: &Part<'_>) {
    selector::check_policy(spec);
    match spec.one_of(&["wasm", "lua"]) {
        None => spec.refuse("exactly one of wasm or lua must be set", "add wasm or lua"),
        Some(("lua", lua)) => {
            let code = lua.text("inlineCode");
            if code.is_empty() {
                lua.refuse_at("inlineCode", "lua.inlineCode cannot be empty", "add it");
            } else if code.len() > 65536 {
                lua.refuse_at(
                    "inlineCode",
                    "lua.inlineCode exceeds maximum size of 64KB",
                    "make it shorter",
                );
            }
        }
        Some((_, wasm)) => check_module(&wasm),
    }
    check_match(spec);
}

fn check_module(of: &Part<'_>) {
    if let Err(wrong) = url::check_wasm(of.text("url")) {
        of.refuse_at(
            "url",
            wrong,
            "write oci://, https://, http:// or file:// and the rest",
        );
    }
    let sum = of.text("sha256");
    if !sum.is_empty() {
        if sum.len() != 64 {
            of.refuse_at(
                "sha256",
                "sha256 field must be 64 characters long",
                "write the sum in hexadecimal",
            );
        } else if !sum.bytes().all(|b| matches!(b, b'a'..=b'f' | b'0'..=b'9')) {
            of.refuse_at(
                "sha256",
                "sha256 field must match [a-f0-9]{64} pattern",
                "write the sum in hexadecimal",
            );
        }
    }
    for (name, most) in [("imagePullSecret", 253), ("pluginName", 256)] {
        if of.text(name).len() > most {
            of.refuse_at(
                name,
                format_args!("{name} field must be less than {most} characters long"),
                "make it shorter",
            );
        }
    }
    if let Some(vm) = of.get("vmConfig") {
        check_environment(&vm);
    }
}

/// What is wrong first is reported alone.
fn check_environment(vm: &Part<'_>) {
    let mut seen = BTreeSet::new();
    for variable in vm.list("env") {
        let name = variable.text("name");
        if name.is_empty() {
            return variable.refuse_at("name", "spec.vmConfig.env invalid", "add name");
        }
        if name.len() > 256 {
            return variable.refuse_at(
                "name",
                "env.name field must be less than 255 characters long",
                "make it shorter",
            );
        }
        if !seen.insert(name) {
            return variable.refuse_at("name", "duplicate env", "keep one of them");
        }
        if variable.word("valueFrom", &["INLINE", "HOST"]) != "INLINE"
            && !variable.text("value").is_empty()
        {
            return variable.refuse_at(
                "value",
                "value may only be set when valueFrom is INLINE",
                "remove it",
            );
        }
    }
}

fn check_match(spec: &Part<'_>) {
    for selector in spec.list("match") {
        for port in selector.list("ports") {
            let number = port.number("number");
            if !(1..=65535).contains(&number) {
                return port.refuse_at(
                    "number",
                    format_args!("port is out of range: {number}"),
                    "ports go from 1 to 65535",
                );
            }
        }
    }
}

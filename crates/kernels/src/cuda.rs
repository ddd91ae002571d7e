//! NVIDIA's driver and libraries, looked for when they are first needed.
//!
//! The tensor library is linked against the driver, cuBLAS, cuRAND and the run-time library, and a program linked so
//! does not start on a machine without them. Here every function it calls is defined instead: a jump through a
//! pointer, which [`load`] fills from the libraries it finds. Symbols of a program come before those of libraries,
//! so the libraries are not needed to start, and the linker leaves them out.
//!
//! The run-time library is needed by nothing here: it registers the kernels of quantised models when the program
//! starts, which therefore is a function that does nothing, and would launch them, which nobody asks for.

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::Library;

/// Finds the libraries and lets the functions lead to theirs.
///
/// # Errors
/// What is missing, in words.
pub fn load() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(load_now).clone()
}

fn load_now() -> Result<(), String> {
    for (name, files, functions) in LIBRARIES {
        // Functions that nothing calls lead nowhere.
        let Some(file) = files.first() else { continue };
        let library = open(files).ok_or_else(|| match *name == LIBRARIES[0].0 {
            true => format!("{name} was not found ({file})"),
            false => format!(
                "NVIDIA's driver is here, but not {name} ({file}); install CUDA's libraries, or set CUDA_HOME to \
                 where they are"
            ),
        })?;
        for (function, slot) in *functions {
            // SAFETY: only the address is taken; the caller of the function has declared its type, from the same
            // headers the library was made with.
            let found = unsafe { library.get::<*mut c_void>(function.as_bytes()) };
            match found {
                Ok(symbol) => slot.store(*symbol, Ordering::Release),
                Err(_) => {
                    return Err(format!("{name} found here is too old: it has no function `{function}`"));
                }
            }
        }
        // Its functions may be called until the program ends.
        std::mem::forget(library);
    }
    Ok(())
}

/// A library where the system finds it, or where CUDA is usually installed.
fn open(files: &[&str]) -> Option<Library> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let roots: Vec<PathBuf> = named.chain([PathBuf::from("/usr/local/cuda")]).collect();
    for file in files {
        let elsewhere = roots.iter().flat_map(|root| ["lib64", "lib"].map(|dir| root.join(dir).join(file)));
        for path in std::iter::once(PathBuf::from(file)).chain(elsewhere) {
            // SAFETY: these are NVIDIA's libraries, whose constructors a program linked against them would run too.
            if let Ok(library) = unsafe { Library::new(&path) } {
                return Some(library);
            }
        }
    }
    None
}

/// Where a function leads that was not found, or not looked for.
extern "C" fn nowhere() -> ! {
    eprintln!("a function of CUDA was called that was not loaded");
    std::process::abort()
}

type Function = (&'static str, &'static AtomicPtr<c_void>);

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($slot:path) => {
        core::arch::naked_asm!("jmp qword ptr [rip + {slot}]", slot = sym $slot)
    };
}

// The register is the one that the calling convention leaves to such jumps.
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($slot:path) => {
        core::arch::naked_asm!(
            "adrp x16, {slot}",
            "ldr x16, [x16, :lo12:{slot}]",
            "br x16",
            slot = sym $slot
        )
    };
}

macro_rules! functions {
    ($($library:expr, [$($file:literal),*] => [$($name:ident)*])*) => {
        #[allow(non_upper_case_globals)]
        mod slots {
            use super::{AtomicPtr, c_void, nowhere};
            $($(pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(nowhere as *mut c_void);)*)*
        }

        $($(
            // SAFETY: every argument stays where the caller put it and the function jumped to returns to the caller.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name() {
                jump!(slots::$name)
            }
        )*)*

        /// Name, files, functions; in the order in which they need one another.
        static LIBRARIES: &[(&str, &[&str], &[Function])] =
            &[$(($library, &[$($file),*], &[$((concat!(stringify!($name), "\0"), &slots::$name)),*])),*];
    };
}

include!("cuda/functions.rs");

/// What a compiled kernel calls when the program starts and ends, to be known to the run-time library.
macro_rules! registrations {
    ($($name:ident)*) => {
        $(
            // SAFETY: nothing is done; what the library would give back is only ever handed to its other functions.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name() -> *mut c_void {
                std::ptr::null_mut()
            }
        )*
    };
}

registrations! {
    __cudaRegisterFatBinary __cudaRegisterFatBinaryEnd __cudaRegisterFunction __cudaRegisterVar
    __cudaUnregisterFatBinary
}

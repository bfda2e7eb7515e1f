//! Takes the place of libgcc's unwinder in a program whose panics abort.
//!
//! Nothing is ever unwound there. What is left that would call it is the backtrace of a panic, which is
//! empty then. That program needs no libgcc, and no code that reads its own debugging information.
//!
//! The functions are those that Rust's standard library names (Itanium C++ ABI: Exception Handling, level I;
//! of GCC, `_Unwind_Backtrace` and what it serves).

use std::ffi::{c_int, c_void};
use std::process::abort;

/// `_URC_END_OF_STACK`: no frame follows.
const END_OF_STACK: c_int = 5;

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Defines functions that are given frames, of which there are none.
macro_rules! never_called {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $argument),*) -> $result {
            abort()
        }
    )*};
}

never_called! {
    _Unwind_Resume(*mut c_void) -> !;
    _Unwind_GetIP(*mut c_void) -> usize;
    _Unwind_GetIPInfo(*mut c_void, *mut c_int) -> usize;
    _Unwind_GetCFA(*mut c_void) -> usize;
    _Unwind_GetLanguageSpecificData(*mut c_void) -> *mut c_void;
    _Unwind_GetRegionStart(*mut c_void) -> usize;
    _Unwind_GetTextRelBase(*mut c_void) -> usize;
    _Unwind_GetDataRelBase(*mut c_void) -> usize;
    _Unwind_SetGR(*mut c_void, c_int, usize) -> ();
    _Unwind_SetIP(*mut c_void, usize) -> ();
    _Unwind_FindEnclosingFunction(*mut c_void) -> *mut c_void;
}

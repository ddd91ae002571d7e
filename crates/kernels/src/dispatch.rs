//! One source, several instruction sets.
//!
//! `vectorised! { fn name(args..) -> Out { .. } }` compiles the body for AVX-512, for AVX2 with FMA and
//! for the build's own target (which on AArch64 has NEON), and makes `name` a function that takes the one
//! in use. The body must be a plain loop; what it calls must be `#[inline(always)]`.

/// See the module.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $kind),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::instructions::InstructionSet;

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $kind),*) $(-> $out)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $kind),*) $(-> $out)? {
                    body($($arg),*)
                }
                match InstructionSet::current() {
                    // SAFETY: only a set this processor has is ever in use.
                    InstructionSet::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    InstructionSet::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            body($($arg),*)
        }
    };
}

pub(crate) use vectorised;

//! One source, several instruction sets.
//!
//! `vectorised! { fn name(args..) -> Out { .. } }` compiles the body for AVX-512, for AVX2 with FMA and
//! for the build's own target, and makes `name` a function that takes the best the processor has. The
//! body must be a plain loop; what it calls must be `#[inline(always)]`.

/// See the module.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $kind),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $kind),*) $(-> $out)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $kind),*) $(-> $out)? {
                    body($($arg),*)
                }
                let avx2_found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if avx2_found
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has every feature the function is compiled for.
                    return unsafe { avx512($($arg),*) };
                }
                if avx2_found {
                    // SAFETY: the processor has every feature the function is compiled for.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

pub(crate) use vectorised;

//! An allocator that counts, to prove that a path does not allocate.
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: mesh_testkit::alloc::Counting = mesh_testkit::alloc::Counting;
//! ```
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting allocations and reallocations of each thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// How many allocations this thread has made so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.try_with(Cell::get).unwrap_or(0)
}

fn count() {
    // A thread that is ending has no counter any more.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes to `System` unchanged, whose contract is the trait's; counting touches no memory of the
// allocator (a `const` thread-local `Cell` needs no allocation and no destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// An allocator whose every allocation and release cost the same few instructions, whatever happened before: blocks of
/// a size are given out again last in, first out, per thread. For counting the instructions of code that allocates as
/// often as what it is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recycling;

/// Powers of two up to this many bytes are recycled.
const LARGEST: usize = 64 * 1024;
const SIZES: usize = LARGEST.ilog2() as usize + 1;

thread_local! {
    /// By the logarithm of their size: the first free block, which begins with the address of the next.
    static FREE: [Cell<*mut u8>; SIZES] = const { [const { Cell::new(std::ptr::null_mut()) }; SIZES] };
}

/// The block for a layout, and its place in the lists; None: it is too large for them.
fn block(layout: Layout) -> Option<(Layout, usize)> {
    let size = layout.size().max(layout.align()).max(16);
    if size > LARGEST {
        return None;
    }
    let size = size.next_power_of_two();
    let block = Layout::from_size_align(size, size).ok()?;
    Some((block, size.ilog2() as usize))
}

// SAFETY: a block is at least as large and as aligned as what is asked for, belongs to one list or one owner at a time,
// and has room for an address. The lists need no allocation and no destructor, so that they are there as long as their
// thread is.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((block, place)) = block(layout) else {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.alloc(layout) };
        };
        FREE.with(|free| {
            let first = free[place].get();
            if first.is_null() {
                // SAFETY: no block has size 0.
                return unsafe { System.alloc(block) };
            }
            // SAFETY: a free block begins with the address of the next, and nobody else has it.
            free[place].set(unsafe { first.cast::<*mut u8>().read() });
            first
        })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some((_, place)) = block(layout) else {
            // SAFETY: it came from there, with this layout.
            return unsafe { System.dealloc(ptr, layout) };
        };
        FREE.with(|free| {
            // SAFETY: the block is the caller's no more, aligned to its size, and has room for an address.
            unsafe { ptr.cast::<*mut u8>().write(free[place].get()) };
            free[place].set(ptr);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_released_is_given_out_again() {
        let layout = |size, align| Layout::from_size_align(size, align).expect("a layout");
        for (size, align) in [
            (1, 1),
            (16, 8),
            (17, 16),
            (700, 64),
            (LARGEST, 8),
            (LARGEST + 1, 8),
        ] {
            let layout = layout(size, align);
            // SAFETY: the sizes are not 0; what is written was allocated, and is released with its layout.
            unsafe {
                let first = Recycling.alloc(layout);
                let second = Recycling.alloc(layout);
                assert!(!first.is_null() && first != second);
                assert_eq!(first.addr() % align, 0);
                first.write_bytes(1, size);
                second.write_bytes(2, size);
                assert_eq!((first.add(size - 1).read(), second.read()), (1, 2));
                Recycling.dealloc(first, layout);
                if size <= LARGEST {
                    assert_eq!(Recycling.alloc(layout), first);
                    Recycling.dealloc(first, layout);
                }
                Recycling.dealloc(second, layout);
            }
        }
    }
}

//! A world in memory, for tests of planner and executor.

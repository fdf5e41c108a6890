//! tidegate-quota

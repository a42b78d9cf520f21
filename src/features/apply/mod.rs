//! SKELETON. Deploys: plan, commit, activate; operations, releases, promote (contract 03 §5-9).

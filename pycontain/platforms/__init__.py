"""How programs execute under the emulated kernel. base.py is the contract; trap/ runs them natively."""

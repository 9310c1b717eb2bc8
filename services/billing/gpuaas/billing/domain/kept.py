"""States with long histories as bytes, so that a start need not fold them again. One law: read back, they are equal."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final

from gpuaas.billing.domain.invoice_series import Series
from gpuaas.billing.domain.ledger import Ledger
from gpuaas.billing.domain.wallet import Wallet
from gpuaas.common.money import plain
from pydantic import TypeAdapter

_WALLET: Final = TypeAdapter(Wallet)


def ledger_written(ledger: Ledger) -> bytes:
    """The balances and where the ledger stands."""
    balances = [[currency, account, plain(amount)] for (currency, account), amount in ledger.balances.items()]
    return json.dumps([ledger.tenant_id, balances, ledger.transfers, ledger.last_transfer_id]).encode()


def ledger_read(kept: bytes) -> Ledger:
    """What `ledger_written` wrote."""
    tenant_id, balances, transfers, last_transfer_id = json.loads(kept)
    found = {(currency, account): Decimal(amount) for currency, account, amount in balances}
    return Ledger(tenant_id, found, transfers, last_transfer_id)


def wallet_written(wallet: Wallet) -> bytes:
    """All grants, holds and applications."""
    return _WALLET.dump_json(wallet)


def wallet_read(kept: bytes) -> Wallet:
    """What `wallet_written` wrote."""
    return _WALLET.validate_json(kept)


def series_written(series: Series) -> bytes:
    """The last number."""
    return str(series.last).encode()


def series_read(kept: bytes) -> Series:
    """What `series_written` wrote."""
    return Series(int(kept))

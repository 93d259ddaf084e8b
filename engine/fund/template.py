"""The small commented pack that `mca init` writes: a start to edit, and it runs as it is."""

from __future__ import annotations

from pathlib import Path

from engine.domain.failures import InputError
from engine.fund.config import CONFIG_NAME

_CONFIG = """\
# A fund pack: this file and the tables it names. Check it with `mca validate`.
# Every column is described by `mca schema` and in docs/fund-pack.md.

[fund]
name = "My Fund"
as_of = 2022-12-28        # all positions, cash and terms are of this day
currency = "USD"          # reporting currency
nav = 250_000_000.0       # net asset value in the reporting currency

[files]                   # CSV or Parquet, in this folder
positions = "positions.csv"
instruments = "instruments.csv"
agreements = "agreements.csv"
cash = "cash.csv"
collateral = "collateral.csv"
facilities = "facilities.csv"
settlements = "settlements.csv"
managers = "managers.csv"
strategies = "strategies.csv"
# factors = "factors.csv" # your own risk factors, beside the packaged ones
# history = "history.csv" # your own levels: a column `date`, then one column for each factor
# crif = "crif.csv"       # your own sensitivities; PortfolioID is the agreement_id

[options]
max_stale_days = 10       # oldest level a factor may have on as_of

[avalanche]               # settings of the simulation; delete a line to use its default
paths = 10000
"""

_TABLES = {
    "positions": """\
position_id,instrument_id,agreement_id,manager_id,strategy_id,quantity
P-001,SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,400
P-002,NDX-FUT,CCP-FUTURES,PM-EQ,INDEX,-150
P-003,WTI-FUT,CCP-FUTURES,PM-MACRO,ENERGY,300
P-004,UST10-SWAP,CCP-SWAPS,PM-MACRO,RATES,180000000
P-005,UST2-SWAP,CCP-SWAPS,PM-MACRO,RATES,-400000000
P-006,EURUSD-FWD,CSA-DEALER,PM-MACRO,FX,60000000
P-007,USDJPY-FWD,CSA-DEALER,PM-MACRO,FX,-40000000
P-008,SPX-PUT-3600,CSA-DEALER,PM-EQ,OPTIONS,-200
P-009,SPX-BASKET,PRIME-MAIN,PM-EQ,INDEX,12000
P-010,NDX-BASKET,PRIME-MAIN,PM-EQ,INDEX,-3000
""",
    "instruments": """\
instrument_id,kind,factor_id,currency,multiplier,expiry,strike,right,fixed_rate,tenor_years,vol,vol_factor_id
SPX-FUT,future,SPX,USD,50,,,,,,,
NDX-FUT,future,NDX,USD,20,,,,,,,
WTI-FUT,future,WTI,USD,1000,,,,,,,
UST10-SWAP,swap,UST10,USD,1,,,,3.70,10,,
UST2-SWAP,swap,UST2,USD,1,,,,4.20,2,,
EURUSD-FWD,fx_forward,EURUSD,USD,1,2023-03-28,1.0500,,,,,
USDJPY-FWD,fx_forward,USDJPY,JPY,1,2023-03-28,135.00,,,,,
SPX-PUT-3600,option,SPX,USD,100,2023-03-17,3600,P,,,0.24,VIX
SPX-BASKET,equity,SPX,USD,1,,,,,,,
NDX-BASKET,equity,NDX,USD,1,,,,,,,
""",
    "agreements": """\
agreement_id,kind,venue,counterparty,broker,legal_entity,currency,model,confidence,mpor_days,\
lookback_days,ewma_lambda,apc,stress_weight,apc_buffer,broker_multiplier,vm_threshold,\
im_threshold,mta,rounding,independent_amount,vm_held,im_held,eod_hour_utc,intraday_hours_utc,\
pay_lag_hours,im_group,eligible_collateral,reported_im,evidence
CCP-FUTURES,cleared,Futures clearing,Clearing Broker A,Clearing Broker A,MASTER,USD,fhs_var,\
0.99,2,500,0.97,,0.25,,1.1,0,0,0,1,0,0,14000000,21,15;18,12,,,,user
CCP-SWAPS,cleared,Swap clearing,Clearing Broker B,Clearing Broker B,MASTER,USD,fhs_es,0.975,5,\
1000,0.97,,0.25,,1.0,0,0,0,1,0,0,9000000,21,9;14,4,,,,user
CSA-DEALER,bilateral,,Dealer C,,MASTER,USD,simm,,10,,,,0,,1,0,50000000,500000,10000,0,0,0,21,,\
24,Dealer C,government bond,,user
PRIME-MAIN,prime,,Prime Broker D,Prime Broker D,MASTER,USD,fhs_var,0.99,5,500,0.97,,0.25,,1.2,0,\
0,0,1,0,0,8000000,21,,24,,,,user
""",
    "cash": """\
legal_entity,currency,amount
MASTER,USD,45000000.00
MASTER,EUR,2500000.00
MASTER,JPY,150000000.00
""",
    "collateral": """\
asset_id,legal_entity,asset_class,currency,market_value,haircut,settle_days
TBILL-1,MASTER,government bond,USD,30000000,0.005,1
CORP-1,MASTER,corporate bond,USD,12000000,0.12,2
""",
    "facilities": """\
facility_id,legal_entity,lender,currency,limit,drawn,notice_hours,nav_covenant,margin_bp,commitment_fee_bp
RCF-1,MASTER,Bank E,USD,25000000.00,0.00,48,0.25,175,40
""",
    "settlements": """\
settlement_id,value_date,legal_entity,currency,amount
S-001,2022-12-30,MASTER,USD,-1250000.00
S-002,2023-01-03,MASTER,EUR,400000.00
""",
    "managers": """\
manager_id,name,allocation
PM-EQ,Equity book,120000000
PM-MACRO,Macro book,130000000
""",
    "strategies": """\
strategy_id,name,asset_class
INDEX,Index long and short,equity
OPTIONS,Option writing,equity
RATES,Curve,rates
FX,Currencies,fx
ENERGY,Energy,commodity
""",
}


def write_template(folder: Path) -> None:
    """Write the template pack: ten positions under four agreements.

    Parameters
    ----------
    folder : Path
        New or empty; it is made if it is not there.

    Raises
    ------
    InputError
        If a file of the template is there already (nothing is overwritten), or the folder
        cannot be written.
    """
    contents = {CONFIG_NAME: _CONFIG} | {f"{name}.csv": text for name, text in _TABLES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in contents if (folder / name).exists()]
        if present:
            raise InputError(
                f"{folder / present[0]} is there already; choose an empty folder for a new pack"
            )
        for name, text in contents.items():
            (folder / name).write_bytes(text.encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
